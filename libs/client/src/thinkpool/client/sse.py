r"""Server-sent events out of bytes, cut anywhere.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_MESSAGE_BYTES = 64 * 2**20
"""The server's greatest events carry plots and stay far below."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class MessageTooLong(ValueError):
    """What comes is no stream of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SseMessage:
    """One message."""

    event: str
    """`message` where none was named."""
    data: str
    id: str | None
    """The message's own; None when it has none, though the stream's last id, as browsers keep it, is still valid."""


class SseParser:
    """Takes one stream's bytes and gives its messages. A message that is cut off is none."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._is_first_line = True
        self._is_after_cr = False
        self._held_bytes = 0
        self._event = ""
        self._id: str | None = None
        self._data: list[str] = []
        self.retry_seconds: float | None = None
        """How long the server wants to be left alone before the next connection."""

    def feed(self, received: bytes) -> list[SseMessage]:
        """The messages that are whole now, in order.

        Raises:
            MessageTooLong: a message exceeds `MAX_MESSAGE_BYTES`.

        """
        return [message for line in self._lines(received) if (message := self._take(line)) is not None]

    def _lines(self, received: bytes) -> Iterator[bytes]:
        if self._is_after_cr and received:
            received = received.removeprefix(b"\n")
            self._is_after_cr = False
        *whole, rest = _LINE_END.split(received)
        for end in whole:
            yield self._joined(end)
        self._hold(rest)
        self._is_after_cr = received.endswith(b"\r") or (self._is_after_cr and not received)

    def _joined(self, end: bytes) -> bytes:
        self._hold(end)
        line = b"".join(self._line)
        self._line = []
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BOM)
        return line

    def _hold(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        if self._held_bytes > MAX_MESSAGE_BYTES:
            raise MessageTooLong
        self._line.append(piece)

    def _take(self, line: bytes) -> SseMessage | None:
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\x00" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_seconds = int(value[:9]) / 1000
            case _:  # a comment, or a field that the standard does not know
                pass
        return None

    def _dispatch(self) -> SseMessage | None:
        event, data, own_id = self._event or "message", self._data, self._id
        self._event, self._data, self._id, self._held_bytes = "", [], None, 0
        return SseMessage(event=event, data="\n".join(data), id=own_id) if data else None
