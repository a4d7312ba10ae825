"""A model that says what it was told to, in pieces, and can be held at a gate or made to fail."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from thinkpool_pipeline.errors import ModelError
from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.values import ModelDelta, ModelReply, ModelRequest, Retraction, ToolCall, Usage


class Gate:
    """Where tests hold others mid-flight: whoever comes waits until it is opened."""

    def __init__(self) -> None:
        self._arrivals = asyncio.Semaphore(0)
        self._is_open = asyncio.Event()
        self.waiting = 0
        """How many wait at it."""

    async def pass_through(self) -> None:
        """Waits until the gate is open."""
        self.waiting += 1
        self._arrivals.release()
        try:
            await self._is_open.wait()
        finally:
            self.waiting -= 1

    async def reached(self, times: int = 1) -> None:
        """Returns when so many more have come."""
        for _ in range(times):
            await self._arrivals.acquire()

    def open(self) -> None:
        """Lets everybody go on, and whoever comes later."""
        self._is_open.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedTurn:
    """One reply with its circumstances."""

    reply: ModelReply
    pieces: Sequence[ModelDelta | Retraction] | None = None
    """What streams; None for the reply's own reasoning and text, a few characters at a time."""
    gate: Gate | None = None
    """Where the turn waits once everything has streamed."""
    error: ModelError | None = None
    """Raised instead of the reply, once everything has streamed."""


Script: TypeAlias = ScriptedTurn | ModelReply | ModelError | str | Callable[[ModelRequest], "Script"]
"""A turn, a reply, an error, a visible text, or what makes one of these from the request."""


class ScriptedModel:
    """Implements `Model`. Turn n of a run gets the n-th script, however often it is asked, so runs can be resumed.

    A turn beyond the scripts has nothing to say and calls nothing; the step `report` gets the script of that name.
    Requests of no step take the scripts in order.
    """

    def __init__(
        self,
        turns: Sequence[Script] = (),
        *,
        report: Script = "Done.",
        name: str = "scripted",
        piece_chars: int = 8,
        steps: Mapping[str, Script] | None = None,
    ) -> None:
        """`steps` has scripts by the step's whole name, for turns within calls."""
        self._turns = turns
        self._report = report
        self._steps = steps or {}
        self._name = name
        self._piece_chars = piece_chars
        self.requests: list[ModelRequest] = []
        """What it was asked, oldest first."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """The scripted reply, after its pieces.

        Raises:
            ModelError: where the script says so.

        """
        self.requests.append(request)
        turn = _turn(self._script(request), request)
        for piece in self._pieces(turn.reply) if turn.pieces is None else turn.pieces:
            if on_delta:
                on_delta(piece)
            await asyncio.sleep(0)
        if turn.gate:
            await turn.gate.pass_through()
        if turn.error:
            raise turn.error
        return turn.reply

    def _script(self, request: ModelRequest) -> Script:
        if request.step in self._steps:
            return self._steps[request.step]
        kind, _, rest = request.step.partition("/")
        if kind == "report":
            return self._report
        number = int(rest.split("/")[0]) if kind == "turn" else len(self.requests)
        return self._turns[number - 1] if number <= len(self._turns) else ModelReply(text="")

    def _pieces(self, reply: ModelReply) -> list[ModelDelta]:
        size = self._piece_chars
        reasoning, text = reply.reasoning, reply.text
        return [
            *(ModelDelta(kind="reasoning", text=reasoning[at : at + size]) for at in range(0, len(reasoning), size)),
            *(ModelDelta(kind="text", text=text[at : at + size]) for at in range(0, len(text), size)),
        ]


def calling(*calls: ToolCall, text: str = "", usage: Usage | None = None) -> ModelReply:
    """A reply that calls tools."""
    return ModelReply(text=text, tool_calls=calls, finish_reason="tool_calls", usage=usage or _USAGE)


_USAGE = Usage(input_tokens=100, output_tokens=10)


def _turn(script: Script, request: ModelRequest) -> ScriptedTurn:
    match script:
        case ScriptedTurn():
            return script
        case ModelReply():
            return ScriptedTurn(reply=script)
        case ModelError():
            return ScriptedTurn(reply=ModelReply(text=""), error=script)
        case str():
            return ScriptedTurn(reply=ModelReply(text=script, usage=_USAGE))
        case _:
            return _turn(script(request), request)
