"""A model behind any endpoint that speaks OpenAI's Chat Completions: vLLM, SGLang, Ollama, OpenAI, and many more.

What it deliberately does not know: tool-call syntax inside the text, which `tagged_calls` reads, and when to give up on
a provider, which is the outward layer's. Retries happen there; a reply that breaks off after parts of it were shown is
retracted before it starts again.
"""

from dataclasses import dataclass

from thinkpool_pipeline.errors import (
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelRefused,
    ModelReplyInvalid,
    ModelTimeout,
    ModelUnavailable,
)
from thinkpool_pipeline.models.chat_request import chat_body
from thinkpool_pipeline.models.context_errors import CONTEXT_STATUSES, ContextExceeded, is_context_error
from thinkpool_pipeline.models.reply_assembly import ReplyAssembly, Shown
from thinkpool_pipeline.models.sse_lines import SseData
from thinkpool_pipeline.models.tools_errors import TOOLS_STATUSES, ToolsNotTaken, ToolsRefused, is_tools_error
from thinkpool_pipeline.outward import (
    Body,
    BodyTooLarge,
    DeadlinePassed,
    KeysExhausted,
    OutwardCall,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
    Upstream,
    call_headers,
    parse_json,
)
from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.values import ModelReply, ModelRequest, Retraction


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAICompatibleSettings:
    """Where the model is, and how long it may take. Its keys are the upstream's."""

    base_url: str
    """What `/chat/completions` is put behind, such as `http://127.0.0.1:8001/v1`."""
    model_name: str
    idle_seconds: float = 120.0
    """The longest silence: before the first token as between two."""
    total_seconds: float = 900.0
    """For one turn, retries included."""
    max_reply_bytes: int = 16 * 1024 * 1024
    """Of the stream, with everything around the text."""


class OpenAICompatibleModel:
    """A `Model` over `POST {base_url}/chat/completions`, streamed."""

    def __init__(self, upstream: Upstream, settings: OpenAICompatibleSettings) -> None:
        self._upstream = upstream
        self._settings = settings
        self._url = f"{settings.base_url.rstrip('/')}/chat/completions"

    def __repr__(self) -> str:
        return f"<OpenAICompatibleModel {self.name}>"

    @property
    def name(self) -> str:
        """The model's name, here as at its endpoint."""
        return self._settings.model_name

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """The whole reply; its pieces go to `on_delta` as they come, a `Retraction` before it starts again.

        Raises:
            ModelTimeout: silence for too long, or the turn's deadline.
            ModelRateLimited: 429, again and again.
            ModelUnavailable: no connection, a broken one, or 5xx, again and again.
            ModelRefused: the key, the model's name or the parameters are wrong.
            ToolsRefused: of these, the tools.
            ModelContextExceeded: the conversation is too long.
            ModelReplyInvalid: replies without sense, or empty, again and again.

        """
        turn = _Turn(request, on_delta)
        try:
            return await self._upstream.send(self._call(request), turn.read, explain=_explain, on_retry=turn.retract)
        except OutwardError as error:
            raise _model_error(error) from error

    def _call(self, request: ModelRequest) -> OutwardCall:
        settings = self._settings
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            **call_headers(request.run_id, request.step),
        }
        total_seconds = settings.total_seconds
        if request.deadline_seconds is not None:
            total_seconds = min(total_seconds, request.deadline_seconds)
        return OutwardCall(
            method="POST",
            url=self._url,
            total_seconds=total_seconds,
            idle_seconds=settings.idle_seconds,
            max_body_bytes=settings.max_reply_bytes,
            headers=headers,
            key_header="authorization",
            key_prefix="Bearer ",
            content=chat_body(request, model=request.model or settings.model_name, base_url=settings.base_url),
        )


class _Turn:
    """One turn over all its tries: what was shown of it, and how a reply is read."""

    def __init__(self, request: ModelRequest, on_delta: OnDelta | None) -> None:
        self._on_delta = on_delta
        self._has_shown = False
        self._call_id_prefix = f"call_{request.step.replace('/', '_') or 'turn'}_"
        self._taken_ids = frozenset(call.call_id for message in request.messages for call in message.tool_calls)

    def retract(self, error: OutwardError) -> None:
        """Takes back what was shown, if anything was."""
        if self._has_shown and self._on_delta is not None:
            self._on_delta(Retraction(reason=str(error)))
        self._has_shown = False

    async def read(self, body: Body) -> ModelReply:
        """The reply in a body: a stream, or, from servers that do not stream, one JSON object.

        Raises:
            OutwardError: it breaks off, makes no sense, or is an error.

        """
        assembly = ReplyAssembly()
        if "json" in body.content_type.lower():
            assembly.feed(await body.read())
            is_done = True
        else:
            is_done = await self._follow(body, assembly)
        if not is_done and not assembly.is_finished:
            raise Unreadable("The model's reply broke off.")
        assembly.end_text()
        self._show(assembly.take_shown())
        return assembly.reply(call_id_prefix=self._call_id_prefix, taken_ids=self._taken_ids)

    async def _follow(self, body: Body, assembly: ReplyAssembly) -> bool:
        """Reads the stream to its end; whether it said that this is the end."""
        events = SseData()
        async for chunk in body:
            is_done = _take(events.feed(chunk), assembly)
            self._show(assembly.take_shown())
            if is_done:
                return True
        return _take(events.finish(), assembly)

    def _show(self, shown: list[Shown]) -> None:
        if not shown:
            return
        self._has_shown = True
        if self._on_delta is not None:
            for piece in shown:
                self._on_delta(piece)


def _take(events: list[bytes], assembly: ReplyAssembly) -> bool:
    for data in events:
        if data == b"[DONE]" or data.strip() == b"[DONE]":
            return True
        assembly.feed(data)
    return False


def _explain(status: int, body: bytes) -> OutwardError | None:
    if status not in CONTEXT_STATUSES | TOOLS_STATUSES:
        return None
    try:
        complaint = parse_json(body)
    except ValueError:
        return None
    if status in CONTEXT_STATUSES and is_context_error(complaint):
        return ContextExceeded()
    return ToolsNotTaken() if status in TOOLS_STATUSES and is_tools_error(complaint) else None


def _model_error(error: OutwardError) -> ModelError:
    match error:
        case ContextExceeded():
            return ModelContextExceeded()
        case ToolsNotTaken():
            return ToolsRefused()
        case DeadlinePassed():
            return ModelTimeout(f"The model did not answer in time. {error}")
        case RateLimited():
            return ModelRateLimited(retry_after_seconds=error.retry_after_seconds)
        case Refused():
            return ModelRefused(f"{ModelRefused()} (status {error.status})")
        case KeysExhausted():
            return ModelRefused("The model's endpoint accepts none of its keys.")
        case Unreadable() | BodyTooLarge():
            return ModelReplyInvalid(str(error))
        case Unavailable():
            return ModelUnavailable(f"The model's endpoint cannot be reached or fails ({error.reason}).")
        case _:
            return ModelUnavailable("The model's endpoint keeps failing and is left alone for now.")
