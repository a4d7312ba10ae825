"""What runs in a child process: reads documents one after the other, as `python -m thinkpool_pipeline.parsing.worker`.

Nothing here guards against a document that crashes a library, or takes for ever: the process dies, or is killed, and
that is the answer. The limits as JSON are the only argument.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from thinkpool_pipeline.parsing.documents import ParsedDocument, Unparsable
from thinkpool_pipeline.parsing.frames import read_frame, write_frame
from thinkpool_pipeline.parsing.messages import READY, Reply, Request
from thinkpool_pipeline.parsing.reading import read_document
from thinkpool_pipeline.parsing.settings import WorkerLimits

_NICENESS = 5
"""Below the server's own work, which is what people wait for first."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Serves until the parser closes its end, or is gone."""
    limits = WorkerLimits(**orjson.loads(sys.argv[1]))
    replies = _own_replies()
    confine(limits)
    serve(sys.stdin.buffer, replies, limits)


def confine(limits: WorkerLimits) -> None:
    """Takes from this process, for good, what reading documents does not need."""
    os.nice(_NICENESS)
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def serve(requests: BinaryIO, replies: BinaryIO, limits: WorkerLimits) -> None:
    """Says that it is ready, then answers each request until there are no more."""
    write_frame(replies, READY)
    while (request := read_frame(requests)) is not None and (content := read_frame(requests)) is not None:
        _allow_cpu(limits.cpu_seconds)
        write_frame(replies, orjson.dumps(_reply(orjson.loads(request), content, limits)))


def _reply(request: Request, content: bytes, limits: WorkerLimits) -> Reply:
    try:
        parsed = read_document(
            content, request["kind"], media_type=request["media_type"], address=request["address"], limits=limits
        )
    except Unparsable as error:
        return _filled(ParsedDocument(title="", text=""), error)
    except MemoryError:
        return _filled(ParsedDocument(title="", text=""), Unparsable("too_hungry"))
    return _filled(parsed, None)


def _filled(parsed: ParsedDocument, error: Unparsable | None) -> Reply:
    return Reply(
        title=parsed.title,
        text=parsed.text,
        date=parsed.date,
        is_cut=parsed.is_cut,
        page_starts=parsed.page_starts,
        reason=None if error is None else error.reason,
        resident_bytes=_resident_bytes(),
    )


def _allow_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, most))


def _resident_bytes() -> int:
    with suppress(OSError):  # where there is no /proc, a worker is replaced by its count alone
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    return 0


def _own_replies() -> BinaryIO:
    """Standard output, for replies alone: what a library prints goes nowhere."""
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return replies


if __name__ == "__main__":
    main()
