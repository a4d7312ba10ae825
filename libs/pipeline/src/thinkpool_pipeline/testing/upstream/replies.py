"""What the simulated model says, as values: text, thinking and calls, and the pieces in which they stream."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import orjson

from thinkpool_pipeline.values import JsonObject

_FILLER = " The rest of the record agrees with this and adds nothing that would change it in any way."
_FRAGMENT_LETTERS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyCall:
    """A tool call as the model writes it."""

    name: str
    arguments: str
    """JSON, or what a script wants to pass for it."""
    server: str = ""
    """The server it names when it stands in the text."""

    @classmethod
    def of(cls, name: str, arguments: JsonObject, *, server: str = "") -> "ReplyCall":
        """A call with well-formed arguments."""
        return cls(name=name, arguments=orjson.dumps(arguments).decode(), server=server)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the simulated model."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ReplyCall, ...] = ()
    finish_reason: str | None = None
    """None to say `tool_calls` when there are some, else `stop`."""
    tokens: int | None = None
    """Into how many pieces it is cut; None for one a word and a few a call."""
    is_tagged: bool = False
    """Whether its calls stand in its text, in `use_mcp_tool` tags."""
    is_thinking_in_text: bool = False
    """Whether its thinking stands in its text, in `think` tags."""

    @property
    def native_calls(self) -> tuple[ReplyCall, ...]:
        """The calls that do not stand in its text."""
        return () if self.is_tagged else self.tool_calls


def deltas(reply: Reply, call_ids: Sequence[str]) -> list[JsonObject]:
    """The reply as the `delta` objects of its chunks, one a token and at least one.

    Thinking comes first, then text, then calls in fragments. `call_ids` are those of the native calls.
    """
    thinking: list[JsonObject] = [{"reasoning_content": word} for word in split_words(reply.reasoning)]
    if thinking and reply.is_thinking_in_text:
        thinking = _in_text(f"<think>\n{reply.reasoning.strip()}\n</think>\n\n")
    calls = [
        delta for index, call in enumerate(reply.native_calls) for delta in _call_deltas(index, call, call_ids[index])
    ]
    if reply.is_tagged:
        calls = _in_text("".join(_tagged(call) for call in reply.tool_calls))
    words = split_words(reply.text)
    if reply.tokens is not None:
        words = fit(words, max(1, reply.tokens - len(calls) - len(thinking)))
    pieces: list[JsonObject] = [*thinking, *({"content": word} for word in words), *calls]
    return pieces or [{"content": ""}]


def filler(count: int) -> list[str]:
    """As many words of no importance, with a full stop after the last."""
    words = list(itertools.islice(itertools.cycle(split_words(_FILLER)), count))
    return [*words[:-1], *(word.removesuffix(".") + "." for word in words[-1:])]


def split_words(text: str) -> list[str]:
    """The text as words, each with the white space before it; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+$", text)


def fit(words: Sequence[str], count: int) -> list[str]:
    """Exactly `count` pieces: of more words, neighbours are joined; to fewer, filler is appended."""
    if len(words) <= count:
        return [*words, *filler(count - len(words))]
    bounds = [index * len(words) // count for index in range(count + 1)]
    return ["".join(words[start:end]) for start, end in itertools.pairwise(bounds)]


def _tagged(call: ReplyCall) -> str:
    """A call as MiroThinker's family writes it."""
    return (
        f"\n\n<use_mcp_tool>\n<server_name>{call.server}</server_name>\n<tool_name>{call.name}</tool_name>\n"
        f"<arguments>\n{call.arguments}\n</arguments>\n</use_mcp_tool>"
    )


def _in_text(text: str) -> list[JsonObject]:
    """Text in pieces that end anywhere, in the middle of tags, too."""
    return [{"content": fragment} for fragment in _fragments(text)]


def _fragments(text: str) -> list[str]:
    return [text[start : start + _FRAGMENT_LETTERS] for start in range(0, len(text), _FRAGMENT_LETTERS)]


def _call_deltas(index: int, call: ReplyCall, call_id: str) -> list[JsonObject]:
    opening: JsonObject = {
        "index": index,
        "id": call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": ""},
    }
    return [
        {"tool_calls": [opening]},
        *(
            {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}
            for fragment in _fragments(call.arguments)
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedStep:
    """Replies ordered for the steps whose names match."""

    step: str
    """A pattern of `fnmatch`; `*` also matches calls without a step, and slashes."""
    replies: tuple[Reply, ...]
    """Given one after the other, each once."""
    run_id: str = "*"
    """A pattern of `fnmatch`."""


@dataclass(slots=True)
class Script:
    """Replies that tests order instead of the simulated model's own. An exhausted order is passed over."""

    _orders: list[tuple[ScriptedStep, list[Reply]]] = field(default_factory=list[tuple[ScriptedStep, list[Reply]]])

    def add(self, step: str, *replies: Reply, run_id: str = "*") -> None:
        """Orders replies for matching steps; earlier orders are served first."""
        self.extend([ScriptedStep(step=step, replies=replies, run_id=run_id)])

    def extend(self, steps: Sequence[ScriptedStep]) -> None:
        """Orders several at once."""
        self._orders.extend((order, list(order.replies)) for order in steps)

    def clear(self) -> None:
        """Takes every order back."""
        self._orders.clear()

    def take(self, run_id: str, step: str) -> Reply | None:
        """The next reply ordered for this step, once."""
        for order, remaining in self._orders:
            if remaining and fnmatchcase(step, order.step) and fnmatchcase(run_id, order.run_id):
                return remaining.pop(0)
        return None
