"""What a call came to, made of what the worker replied: its words are checked here, and taken for data."""

import base64
import mimetypes
import re

from thinkpool_pipeline.sandbox.local.session import Reply
from thinkpool_pipeline.sandbox.local.wire import GarbledFrame
from thinkpool_pipeline.sandbox.protocols import CodeResult
from thinkpool_pipeline.values import ToolFile

_MAX_NAME_LETTERS = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_FIELDS_BEFORE_FILES = 2
_FIELDS_OF_A_FILE = 3
_FIRST_SIGNAL_STATUS = 128
_LOST = "The names and files of earlier calls are lost."


def kept_result(reply: Reply) -> CodeResult:
    """The result of a call after which the sandbox goes on.

    Raises:
        GarbledFrame: it does not go on, or the reply is none.

    """
    fields = reply.fields
    if fields is None or len(fields) % _FIELDS_OF_A_FILE != _FIELDS_BEFORE_FILES:
        raise GarbledFrame
    error = fields[0].decode(errors="replace")
    if reply.verdict is not None:
        error = f"Stopped {reply.verdict.reason}; names and files are kept.\n{error}".rstrip()
    left_out = _number(fields[1])
    starts = range(_FIELDS_BEFORE_FILES, len(fields), _FIELDS_OF_A_FILE)
    files = tuple(_file(*fields[start : start + _FIELDS_OF_A_FILE]) for start in starts)
    note = f"\n[{left_out} more files were made or changed, and stay in the sandbox.]" if left_out else ""
    return CodeResult(stdout=reply.stdout, stderr=reply.stderr + note, error=error, files=files)


def lost_result(reply: Reply, status: int) -> CodeResult:
    """The result of a call that the sandbox did not survive. `status`: how its interpreter ended, as a shell counts."""
    if reply.verdict is not None:
        cause = f"Killed {reply.verdict.reason}"
    elif status > _FIRST_SIGNAL_STATUS:
        cause = f"The interpreter was ended by signal {status - _FIRST_SIGNAL_STATUS}"
    else:
        cause = f"The interpreter ended with exit status {status}"
    return CodeResult(stdout=reply.stdout, stderr=reply.stderr, error=f"{cause}. {_LOST}")


def _file(name: bytes, size: bytes, content: bytes) -> ToolFile:
    plain = _UNPRINTABLE.sub("_", name.decode(errors="replace"))[-_MAX_NAME_LETTERS:].lstrip(".") or "file"
    return ToolFile(
        name=plain,
        media_type=mimetypes.guess_type(plain)[0] or "application/octet-stream",
        size_bytes=len(content) or _number(size),
        data_base64=base64.b64encode(content).decode(),
    )


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise GarbledFrame
    return int(digits)
