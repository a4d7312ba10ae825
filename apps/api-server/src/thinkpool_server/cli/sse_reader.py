"""Server-sent events out of bytes, cut anywhere.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation (lines end in LF
or CRLF, as this project's servers and proxies send them).
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SseFrame:
    """One event as it came over the wire."""

    event_id: str
    """Empty for a frame that carries none: it has no place to resume from."""
    event: str
    data: bytes


class SseReader:
    """Collects bytes and gives frames. Comments and frames without data are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._event_id = ""
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> Iterator[SseFrame]:
        """The frames that are whole now, in order."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            frame = self._take(line.removesuffix(b"\r"))
            if frame is not None:
                yield frame

    def _take(self, line: bytes) -> SseFrame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"id":
                self._event_id = value.decode("utf-8", "replace")
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"data":
                self._data.append(value)
            case _:  # a comment, or a field that only browsers heed
                pass
        return None

    def _dispatch(self) -> SseFrame | None:
        event_id, event, data = self._event_id, self._event, self._data
        self._event_id, self._event, self._data = "", "", []
        return SseFrame(event_id=event_id, event=event, data=b"\n".join(data)) if data else None
