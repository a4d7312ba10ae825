"""A model that may write its tool calls into its text: takes a model, and is one.

Turns go out in the form that the model understands, and come back in ours: visible text without any tool-call syntax,
and calls in the names of the tools on offer, whether they came as such or as text. What it deliberately does not know:
providers, and thinking, which the model that it wraps has told from text already.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Literal, TypeAlias

from thinkpool_pipeline.models.tagged_calls.dialect import ToolDialect
from thinkpool_pipeline.models.tagged_calls.reply import read_reply
from thinkpool_pipeline.models.tagged_calls.visible_text import NeutralText, VisibleText
from thinkpool_pipeline.models.tagged_calls.xml_request import xml_request
from thinkpool_pipeline.models.tools_errors import ToolsRefused
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Model, OnDelta
from thinkpool_pipeline.values import Message, ModelDelta, ModelReply, ModelRequest, Retraction, StepName

logger = logging.getLogger(__name__)

ToolCallFormat: TypeAlias = Literal["auto", "native", "mcp_xml"]
"""How a model is told of its tools and calls them: through the endpoint's `tools`, through its text, or as it can."""

_XML_MODELS = ("mirothinker",)
"""Parts of the names of models that were trained on calls in their text."""


def with_tool_call_format(model: Model, tool_call_format: ToolCallFormat) -> Model:
    """The model in a format.

    `native` leaves it as it is; `mcp_xml` tells it of its tools in the system prompt and finds its calls in its text.
    `auto` does so where the model's name or its endpoint's refusal asks for it, and finds calls in both places.
    """
    if tool_call_format == "native":
        return model
    is_trained = any(part in model.name.lower() for part in _XML_MODELS)
    return TaggedCallsModel(model, is_xml=tool_call_format == "mcp_xml" or is_trained)


class TaggedCallsModel:
    """A `Model` over another one. Once its endpoint has refused tools, it is not offered any again."""

    def __init__(self, model: Model, *, is_xml: bool) -> None:
        """`is_xml`: whether the model reads of its tools in the system prompt from the start."""
        self._model = model
        self._is_xml = is_xml

    def __repr__(self) -> str:
        return f"<TaggedCallsModel {self.name} [{'mcp_xml' if self._is_xml else 'native'}]>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """The whole reply; its pieces go to `on_delta` as they come, a `Retraction` before it starts again.

        Raises:
            ModelError: as the model does.

        """
        turn = _Turn(request, on_delta)
        reply = read_reply(await self._ask(turn), request)
        if not request.tools and not reply.text.strip():
            first = reply
            turn.begin_again("again", "The model called a tool where it was to write.", prompt("no_tools"))
            reply = read_reply(await self._ask(turn), request)
            reply = replace(reply, usage=first.usage + reply.usage)
        turn.pieces.finish()
        return reply

    async def _ask(self, turn: "_Turn") -> ModelReply:
        is_xml = self._is_xml
        if not is_xml:
            try:
                return await self._model.complete(turn.request, turn.pieces)
            except ToolsRefused:
                if not turn.request.tools:
                    raise
            if not self._is_xml:
                logger.warning("The endpoint of %s takes no tools: its model is told of them in words.", self.name)
            self._is_xml = True
            turn.begin_again("xml", "The model's endpoint takes no tools; it is asked in another form.")
        request = turn.request
        return await self._model.complete(xml_request(request, ToolDialect(request.tools)), turn.pieces)


class _Turn:
    """One turn over all its askings."""

    def __init__(self, request: ModelRequest, on_delta: OnDelta | None) -> None:
        self.request = request
        self.pieces = _Pieces(on_delta)
        self._began_at = asyncio.get_running_loop().time()
        self._deadline_seconds = request.deadline_seconds

    def begin_again(self, name: str, reason: str, words: str = "") -> None:
        """Takes back what was shown, and makes the request another step: what it asks for is no longer the same."""
        self.pieces.retract(reason)
        request = self.request
        deadline_seconds = self._deadline_seconds
        if deadline_seconds is not None:
            elapsed_seconds = asyncio.get_running_loop().time() - self._began_at
            deadline_seconds = max(deadline_seconds - elapsed_seconds, 0.0)
        self.request = replace(
            request,
            messages=(*request.messages, Message(role="user", content=words)) if words else request.messages,
            step=StepName(f"{request.step}/{name}") if request.step else request.step,
            deadline_seconds=deadline_seconds,
        )


class _Pieces:
    """What is shown of a reply as it streams in."""

    def __init__(self, on_delta: OnDelta | None) -> None:
        self._on_delta = on_delta
        self._has_shown = False
        self._text = VisibleText()
        self._thinking = NeutralText()

    def __call__(self, piece: ModelDelta | Retraction) -> None:
        if isinstance(piece, Retraction):
            self.retract(piece.reason)
        else:
            reader = self._text if piece.kind == "text" else self._thinking
            shown = reader.feed(piece.text)
            self._show(piece if shown == piece.text else ModelDelta(kind=piece.kind, text=shown))

    def retract(self, reason: str) -> None:
        """Takes back what was shown, if anything was, and reads from the start."""
        self._text, self._thinking = VisibleText(), NeutralText()
        if self._has_shown and self._on_delta is not None:
            self._on_delta(Retraction(reason=reason))
        self._has_shown = False

    def finish(self) -> None:
        """Shows what was held back."""
        self._show(ModelDelta(kind="reasoning", text=self._thinking.finish()))
        self._show(ModelDelta(kind="text", text=self._text.finish()))

    def _show(self, piece: ModelDelta) -> None:
        if piece.text and self._on_delta is not None:
            self._has_shown = True
            self._on_delta(piece)
