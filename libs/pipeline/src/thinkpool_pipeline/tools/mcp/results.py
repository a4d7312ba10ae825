"""What a server's answer comes to: its words as a passage, fenced and citable, its pictures as files.

Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
"""

import base64
import binascii
import json
import mimetypes
import re
from dataclasses import dataclass, field

from pydantic import JsonValue

from thinkpool_pipeline.tools.mcp.listing import RemoteTool, cleaned
from thinkpool_pipeline.values import JsonObject, Passage, StepName, ToolFile, ToolOutput

MAX_ERROR_CHARACTERS = 500

_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLimits:
    """How much of an answer is taken."""

    max_characters: int = 100_000
    max_files: int = 8
    max_file_bytes: int = 2 * 1024 * 1024
    """Of one file; of a larger one only its name and size are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose answer it is."""

    server: str
    tool: RemoteTool
    step: StepName
    is_trusted: bool


def tool_output(result: JsonObject, origin: Origin, limits: ResultLimits) -> ToolOutput:
    """The output for a call that the server says went well."""
    answer = _read(result, origin.tool.name, limits)
    text = answer.text(limits)
    document = f"mcp:{origin.server}/{origin.tool.name}:{origin.step}"
    title = one_line(origin.tool.title) or f"{origin.server}: {origin.tool.name}"
    passages = (Passage(document=document, title=title, text=text, is_own_work=not origin.is_trusted),) if text else ()
    is_empty = not passages and not answer.files
    return ToolOutput(
        text="\n".join(answer.notes) or ("The tool answered with nothing." if is_empty else ""),
        passages=passages,
        summary=_summary(text, len(answer.files)),
        is_empty=is_empty,
        files=tuple(answer.files),
    )


def error_text(result: JsonObject) -> str | None:
    """The server's words on a call that it says failed, in one line; None for one that went well."""
    if result.get("isError") is not True:
        return None
    return one_line(_read(result, "", ResultLimits(max_files=0)).text(ResultLimits())) or "it gave no reason"


def one_line(text: str) -> str:
    """The text without line breaks, cut."""
    line = " ".join(cleaned(text).split())
    return line if len(line) <= MAX_ERROR_CHARACTERS else f"{line[: MAX_ERROR_CHARACTERS - 1]}…"


def _summary(text: str, files: int) -> str:
    parts = [f"{len(text):,} characters"] if text else []
    parts += [f"{files} {'file' if files == 1 else 'files'}"] if files else []
    return " and ".join(parts) or "nothing"


@dataclass(slots=True, kw_only=True)
class _Answer:
    parts: list[str] = field(default_factory=list[str])
    """The server's words."""
    notes: list[str] = field(default_factory=list[str])
    """Ours, on what is not words."""
    files: list[ToolFile] = field(default_factory=list[ToolFile])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def text(self, limits: ResultLimits) -> str:
        text = cleaned("\n\n".join(part for part in self.parts if part)).strip()
        if len(text) <= limits.max_characters:
            return text
        missing = len(text) - limits.max_characters
        return f"{text[: limits.max_characters]}\n[cut here: {missing:,} more characters]"


def _read(result: JsonObject, tool: str, limits: ResultLimits) -> _Answer:
    answer = _Answer()
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    for block in blocks:
        if isinstance(block, dict):
            _add(answer, block, tool, limits)
    structured = result.get("structuredContent")
    if structured is not None and not any(answer.parts):
        answer.parts.append(json.dumps(structured, ensure_ascii=False))
    return answer


def _add(answer: _Answer, block: JsonObject, tool: str, limits: ResultLimits) -> None:
    kind = block.get("type")
    if kind == "text":
        answer.parts.append(_text(block, "text"))
    elif kind in ("image", "audio"):
        _add_file(answer, f"{tool}-{len(answer.files) + 1}", block, "data", limits)
    elif kind == "resource_link":
        name, uri = _text(block, "title") or _text(block, "name"), _text(block, "uri")
        answer.parts.append(" ".join(part for part in (f"[{name}]({uri})", _text(block, "description")) if part))
    elif kind == "resource" and isinstance(resource := block.get("resource"), dict):
        _add_resource(answer, resource, limits)
    else:
        answer.note("The answer held a part of an unknown kind, which is left out.")


def _add_resource(answer: _Answer, resource: JsonObject, limits: ResultLimits) -> None:
    uri = _text(resource, "uri")
    if "blob" in resource:
        _add_file(answer, uri.rstrip("/").rpartition("/")[2], resource, "blob", limits)
    else:
        answer.parts.append(f"{uri}:\n{_text(resource, 'text')}")


def _add_file(answer: _Answer, name: str, block: JsonObject, key: str, limits: ResultLimits) -> None:
    if len(answer.files) >= limits.max_files:
        if limits.max_files:
            answer.note(f"There were more than {limits.max_files} files; the others are left out.")
        return
    media_type = _text(block, "mimeType").lower()
    if not _MEDIA_TYPE.fullmatch(media_type):
        media_type = "application/octet-stream"
    data = "".join(_text(block, key).split())
    size_bytes = _decoded_bytes(data)
    if size_bytes is None:
        answer.note("The answer held a file that cannot be decoded, which is left out.")
        return
    file = ToolFile(
        name=_file_name(name, media_type),
        media_type=media_type,
        size_bytes=size_bytes,
        data_base64=data if size_bytes <= limits.max_file_bytes else "",
    )
    answer.files.append(file)
    fate = "" if file.data_base64 or not size_bytes else ", too large to keep"
    answer.note(f"The answer holds the file {file.name} ({media_type}, {size_bytes:,} bytes{fate}).")


def _decoded_bytes(data: str) -> int | None:
    """How many bytes the base64 text holds; None when it is none."""
    try:
        return len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None


def _file_name(name: str, media_type: str) -> str:
    plain = _FILE_NAME.sub("_", name).strip("._")[-80:] or "file"
    if "." in plain:
        return plain
    subtype = media_type.partition("/")[2]
    return plain + (mimetypes.guess_extension(media_type) or (f".{subtype}" if subtype.isalnum() else ".bin"))


def _text(block: JsonObject, key: str) -> str:
    value: JsonValue = block.get(key)
    return value if isinstance(value, str) else ""
