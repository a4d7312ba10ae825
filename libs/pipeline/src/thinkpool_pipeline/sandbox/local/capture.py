"""What a program prints: drained from its pipe as it comes, its start and its end kept, the rest counted."""

import asyncio
import fcntl
import os

_READ_BYTES = 64 * 1024


class Kept:
    """The start and the end of a stream, in bounded memory."""

    def __init__(self, max_bytes: int) -> None:
        self._half = max_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0
        """Of the whole stream."""

    def add(self, data: bytes) -> None:
        """Takes what came next."""
        self.total_bytes += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """What is kept, with a word on what is not."""
        tail = self._tail[-self._half :]
        missing = self.total_bytes - len(self._head) - len(tail)
        if not missing:
            return (self._head + tail).decode(errors="replace")
        note = f"\n[... {missing} bytes left out ...]\n"
        return self._head.decode(errors="replace") + note + tail.decode(errors="replace")


class Capture:
    """One pipe, read whenever something is in it, so that no program waits for us and none fills our memory."""

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self.kept = Kept(max_bytes)
        """Since `begin`."""
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def begin(self) -> None:
        """Forgets what came so far, and what is still in the pipe."""
        self.drain()
        self.kept = Kept(self._max_bytes)

    def drain(self) -> None:
        """Takes what is in the pipe now, and not what a busy writer adds meanwhile."""
        rest = fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)
        while rest > 0 and (taken := self._read()):
            rest -= taken

    def close(self) -> None:
        """Closes the pipe."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> int:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._loop.remove_reader(self._descriptor)
        self.kept.add(data)
        return len(data)
