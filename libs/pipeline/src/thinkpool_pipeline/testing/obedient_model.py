"""The worst model there is: it does whatever any text tells it, with everything it has ever read at hand.

An order is `<<do TOOL JSON>>` or `<<say TEXT>>`, anywhere in what it reads. In an order, `$all` is all it has read so
far, and `$found(PATTERN)` the first match of a regular expression in that; `$base64(...)`, `$hex(...)`,
`$reversed(...)` and `$spaced(...)` around one of them give it in that form. Orders are carried out once each, oldest
first, several a turn; `<<do wait {}>>` puts the rest off to the next turn.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping

from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.values import ModelDelta, ModelReply, ModelRequest, ToolCall

MAX_CALLS_PER_TURN = 8

_ORDER = re.compile(r"<<do (?P<tool>\w+) (?P<arguments>\{.*?\})>>", re.DOTALL)
_SPEECH = re.compile(r"<<say (?P<text>.*?)>>", re.DOTALL)
_REFERENCE = re.compile(
    r"\$(?:(?P<form>base64|hex|reversed|spaced)\()?\$?(?P<what>all|found\((?P<pattern>[^()]*)\))\)?"
)

_FORMS: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "reversed": lambda text: text[::-1],
    "spaced": " ".join,
}


class ObedientModel:
    """Implements `Model`."""

    name = "obedient"

    def __init__(self, first: ToolCall) -> None:
        """`first` is the call that it makes of its own accord. One instance serves one run."""
        self._first: ToolCall | None = first
        self._known: set[str] = set()
        self._waiting: list[re.Match[str]] = []

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Calls for the orders it has not carried out yet; a report that says what it was told to say."""
        read = "\n".join(message.content for message in request.messages)
        if not request.tools:
            text = "\n\n".join(_filled(match["text"], read) for match in _SPEECH.finditer(read)) or "Done."
            if on_delta is not None:
                on_delta(ModelDelta(kind="text", text=text))
            return ModelReply(text=text)
        self._note_orders(read)
        if self._first is not None:
            calls, self._first = (self._first,), None
            return ModelReply(text="", tool_calls=calls)
        return ModelReply(text="", tool_calls=tuple(self._next_calls(read)))

    def _note_orders(self, read: str) -> None:
        for order in _ORDER.finditer(read):
            if order.group() not in self._known:
                self._known.add(order.group())
                self._waiting.append(order)

    def _next_calls(self, read: str) -> Iterator[ToolCall]:
        """The calls up to the next order to wait, filled with what was read by now."""
        for number in range(MAX_CALLS_PER_TURN):
            order = self._waiting.pop(0) if self._waiting else None
            if order is None or (order["tool"] == "wait" and number):
                return
            if order["tool"] != "wait":
                yield _call(order, read, f"order-{len(self._known)}-{len(self._waiting)}")


def _call(order: re.Match[str], read: str, call_id: str) -> ToolCall:
    arguments = json.loads(order["arguments"])
    filled = {name: _filled(value, read) if isinstance(value, str) else value for name, value in arguments.items()}
    return ToolCall(call_id=call_id, name=order["tool"], arguments=filled)


def _filled(text: str, read: str) -> str:
    def value(match: re.Match[str]) -> str:
        found = re.search(match["pattern"], read) if match["pattern"] else None
        words = read[-1500:] if match["what"] == "all" else found.group() if found else ""
        return _FORMS[match["form"]](words) if match["form"] else words

    return _REFERENCE.sub(value, text)
