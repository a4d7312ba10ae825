"""What a program came to, as a tool's output: words for the model, a passage that can be cited, a line for people."""

import re
from collections.abc import Sequence

from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.sandbox.protocols import CodeResult
from thinkpool_pipeline.values import Passage, ToolFile, ToolOutput

TITLE = "Output of the program"
_SUMMARY_CHARACTERS = 80
_ERROR_NAME = re.compile(r"\A([A-Za-z_][\w.]*)(?::|\Z)")


def program_output(
    result: CodeResult, context: CallContext, *, seconds: float, note: str, max_characters: int
) -> ToolOutput:
    """The output of a program that ended, well or badly; `note` comes first."""
    printed = _cut(_printed(result), max_characters)
    document = f"python:{context.step}"
    passages = (Passage(document=document, title=TITLE, text=printed, is_own_work=True),) if printed else ()
    return ToolOutput(
        text=" ".join(filter(None, (note, _told(result)))),
        passages=passages,
        summary=_summary(result, seconds),
        shown=printed,
        files=result.files,
    )


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _printed(result: CodeResult) -> str:
    """All it wrote, with a heading for whatever is not its ordinary output."""
    parts = [result.stdout.rstrip()] if result.stdout.strip() else []
    for heading, text in (("stderr", result.stderr), ("error", result.error)):
        if text.strip():
            parts.append(f"[{heading}]\n{text.rstrip()}")
    return "\n".join(parts)


def _told(result: CodeResult) -> str:
    if result.error:
        ending = "The program failed."
    elif result.stdout.strip() or result.stderr.strip():
        ending = "The program ended well."
    else:
        ending = "The program ended well and printed nothing."
    return f"{ending} {_listed(result.files)}" if result.files else ending


def _listed(files: Sequence[ToolFile]) -> str:
    names = ", ".join(f"{file.name} ({file.media_type}, {counted(file.size_bytes, 'byte')})" for file in files)
    return f"Files it made: {names}."


def _summary(result: CodeResult, seconds: float) -> str:
    if result.error:
        return f"failed: {_reason(result.error)}"
    lines = len(result.stdout.splitlines()) + len(result.stderr.splitlines())
    parts = [f"ran in {seconds:.1f} s", counted(lines, "line")]
    if result.files:
        parts.append(counted(len(result.files), "file"))
    return ", ".join(parts)


def _reason(error: str) -> str:
    """The error's name out of its last line, or that line."""
    line = error.strip().splitlines()[-1].strip()
    name = _ERROR_NAME.match(line)
    return (name[1] if name else line)[:_SUMMARY_CHARACTERS]


def _cut(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    half = max_characters // 2
    missing = len(text) - 2 * half
    return f"{text[:half]}\n[{missing} characters are left out here]\n{text[len(text) - half :]}"
