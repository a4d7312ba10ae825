"""One question to a child process, which answers it and is gone: for what may hang, grow or die of what it reads."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

# Of the server's environment only what Python finds its way by: no keys.
_KEPT_VARIABLES = re.compile(r"PATH|LD_LIBRARY_PATH")
_AT_ONCE_BYTES = 262_144


async def answer_of(
    arguments: Sequence[str], request: Sequence[bytes], *, timeout_seconds: float, max_answer_bytes: int
) -> bytes | None:
    """What a child of these arguments to Python answers on standard output; None when it does not in time.

    It has no environment but what Python needs. Of an answer that is too long only the beginning comes back.
    """
    try:
        async with asyncio.timeout(timeout_seconds), _child(arguments) as process:
            return await _exchanged(process, request, max_answer_bytes)
    except (TimeoutError, OSError):
        return None


@asynccontextmanager
async def _child(arguments: Sequence[str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A child, killed at the end of the block if it is not gone by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if _KEPT_VARIABLES.fullmatch(name)},
        start_new_session=True,  # Ctrl-C is for the server
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _exchanged(process: asyncio.subprocess.Process, request: Sequence[bytes], max_answer_bytes: int) -> bytes:
    """The answer; it may come before the whole request was read."""
    assert process.stdin is not None
    assert process.stdout is not None
    for part in request:
        whole = memoryview(part)
        for start in range(0, len(whole), _AT_ONCE_BYTES):
            process.stdin.write(whole[start : start + _AT_ONCE_BYTES])
            await process.stdin.drain()
    process.stdin.close()
    pieces: list[bytes] = []
    room = max_answer_bytes
    while room > 0 and (piece := await process.stdout.read(min(room, _AT_ONCE_BYTES))):
        pieces.append(piece)
        room -= len(piece)
    if room > 0:
        await process.wait()
    return b"".join(pieces)
