"""Reads event streams as browsers do, to the letter of the standard, and keeps the comments too.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import httpx

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One dispatched message."""

    last_event_id: str
    type: str
    data: str


@dataclass(slots=True)
class EventSource:
    """A parser of one stream."""

    comments: list[str] = field(default_factory=list[str])
    last_event_id: str = ""
    _type: str = ""
    _data: list[str] = field(default_factory=list[str])

    def read(self, lines: Iterable[str]) -> list[ReceivedEvent]:
        """The messages that these whole lines complete."""
        found: list[ReceivedEvent] = []
        for line in lines:
            if line:
                self._field(line)
                continue
            if self._data:
                found.append(
                    ReceivedEvent(
                        last_event_id=self.last_event_id, type=self._type or "message", data="\n".join(self._data)
                    )
                )
            self._type, self._data = "", []
        return found

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments.append(value)
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\x00" not in value:
            self.last_event_id = value


def parsed(stream: bytes) -> tuple[list[ReceivedEvent], list[str]]:
    """The messages and the comments of a whole stream."""
    source = EventSource()
    return source.read(_LINE_END.split(stream.decode())[:-1]), source.comments


async def received(response: httpx.Response) -> AsyncIterator[ReceivedEvent]:
    """The messages of a response as they come in; it sends line feeds only, as this server does."""
    source = EventSource()
    rest = b""
    async for chunk in response.aiter_raw():
        *lines, rest = (rest + chunk).split(b"\n")
        for event in source.read(line.decode() for line in lines):
            yield event
