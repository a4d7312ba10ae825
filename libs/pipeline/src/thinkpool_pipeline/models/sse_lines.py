"""Reads server-sent events off a byte stream: only their data, which is all that OpenAI's format uses.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation. More lenient in
one point: an event that the end of the stream cuts off before its blank line is given out by `finish`.
"""


class SseData:
    """Turns chunks, cut anywhere, into the data of whole events."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """An unfinished line, in the chunks it came in."""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that this chunk completes."""
        events: list[bytes] = []
        if self._rest:
            self._rest.append(chunk)
            if b"\n" not in chunk:
                return events
            chunk = b"".join(self._rest)
        lines = chunk.split(b"\n")
        last = lines.pop()
        self._rest = [last] if last else []
        for line in lines:
            self._take(line, events)
        return events

    def finish(self) -> list[bytes]:
        """The data of an event the stream's end left open."""
        events: list[bytes] = []
        self._take(b"".join(self._rest), events)
        self._take(b"", events)
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if line[-1:] == b"\r":
            line = line[:-1]
        if line[:5] == b"data:":
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and self._data:
            events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
            self._data = []
