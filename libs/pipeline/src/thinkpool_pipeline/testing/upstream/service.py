"""The simulated upstream: an OpenAI-compatible model, a search and a page reader on one loopback port.

It can be run in a test's own process (`async with SimulatedUpstream() as upstream`) or in one of its own
(`python -m thinkpool_pipeline.testing.upstream`), where the routes under `/control/` do what the attributes do here.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import orjson
from aiohttp import web
from pydantic import JsonValue, TypeAdapter, ValidationError

from thinkpool_pipeline.testing.upstream.answers import (
    JSON_TYPE,
    Answer,
    chat_answer,
    json_answer,
    models_answer,
    page_answer,
    search_answer,
)
from thinkpool_pipeline.testing.upstream.delivery import Exchange
from thinkpool_pipeline.testing.upstream.faults import Fault, FaultPlan
from thinkpool_pipeline.testing.upstream.ledger import Caller, Endpoint, Ledger, LedgerEntry
from thinkpool_pipeline.testing.upstream.misbehaviour import misbehave
from thinkpool_pipeline.testing.upstream.replies import Reply, Script, ScriptedStep, filler
from thinkpool_pipeline.testing.upstream.researcher import Conversation, reply_to
from thinkpool_pipeline.testing.upstream.searxng import searxng_answer
from thinkpool_pipeline.testing.upstream.timing import PROFILES, Timing
from thinkpool_pipeline.values import JsonObject

_BODY_BYTES = 64 * 1024 * 1024
_WAITING_CONNECTIONS = 1024
_KEEP_ALIVE_SECONDS = 600.0
_SHUTDOWN_SECONDS = 0.1
_FAULTS: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])
_STEPS: TypeAdapter[list[ScriptedStep]] = TypeAdapter(list[ScriptedStep])
_TIMING: TypeAdapter[Timing] = TypeAdapter(Timing)

T = TypeVar("T")
_Compose: TypeAlias = Callable[[web.Request, bytes, LedgerEntry], Answer]


class SimulatedUpstream:
    """A simulated upstream on 127.0.0.1, serving for the length of the `async with` block."""

    def __init__(
        self,
        *,
        timing: Timing = PROFILES["instant"],
        port: int = 0,
        seed: int = 0,
        ledger_path: Path | None = None,
        keeps_requests: bool = False,
    ) -> None:
        """Port 0 takes any free one. `keeps_requests`: whether ledger entries hold the body of chat requests."""
        self.timing = timing
        self.ledger = Ledger(ledger_path)
        self.faults = FaultPlan(seed)
        self.script = Script()
        self._port = port
        self._keeps_requests = keeps_requests
        self._address = ""
        self._stack = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        return f"<SimulatedUpstream {self._address} {self.ledger!r}>"

    @property
    def base_url(self) -> str:
        """Its address, such as `http://127.0.0.1:4321`; empty before it serves."""
        return self._address

    async def __aenter__(self) -> Self:
        self._stack.enter_context(self.ledger.open())
        runner = web.AppRunner(
            self._application(),
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self._port, backlog=_WAITING_CONNECTIONS).start()
        host, port = runner.addresses[0][:2]
        self._address = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=_BODY_BYTES)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._handler("chat", self._compose_chat)),
                web.get("/v1/models", self._handler("models", self._compose_models)),
                web.post("/search", self._handler("search", self._compose_search)),
                web.get("/searxng/search", self._handler("searxng", self._compose_searxng)),
                web.get("/reader/{url:.+}", self._handler("reader", self._compose_page)),
                web.get("/control/ledger", self._read_ledger),
                web.delete("/control/ledger", self._clear_ledger),
                web.put("/control/faults", self._set_faults),
                web.put("/control/script", self._set_script),
                web.put("/control/timing", self._set_timing),
            ]
        )
        return app

    def _handler(self, endpoint: Endpoint, compose: _Compose) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler that notes the call, composes the answer, and sends it or what a fault makes of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            entry = self.ledger.begin(endpoint, _caller(request))
            exchange = Exchange(request, entry)
            try:
                answer = compose(request, await request.read(), entry)
                fault = self.faults.pick(entry)
                if fault is None:
                    response = await exchange.deliver(answer)
                    self.ledger.end(entry, "completed")
                else:
                    response = await misbehave(exchange, answer, fault)
                    self.ledger.end(entry, "fault")
            except (asyncio.CancelledError, ConnectionError):
                self.ledger.end(entry, "fault" if entry.fault == "reset" else "client-gone")
                raise
            return response

        return handle

    def _compose_chat(self, request: web.Request, data: bytes, entry: LedgerEntry) -> Answer:
        body = _json_object(data)
        if body is None or not isinstance(body.get("messages"), list):
            return _bad_request("The body must be a JSON object with `messages`.")
        entry.subject = str(body.get("model", ""))
        if self._keeps_requests:
            entry.request = body
        reply = self.script.take(entry.run_id, entry.step)
        if reply is None:
            reply = self._timed(reply_to(Conversation.of(body), entry.step))
        return chat_answer(body, reply, self.timing)

    def _timed(self, reply: Reply) -> Reply:
        """The reply at the length that the timing gives every reply."""
        timing = self.timing
        thinking = "".join(filler(timing.reasoning_tokens))
        is_in_text = timing.is_thinking_in_text
        return replace(reply, reasoning=thinking, is_thinking_in_text=is_in_text, tokens=timing.tokens_per_reply)

    def _compose_models(self, request: web.Request, data: bytes, entry: LedgerEntry) -> Answer:
        return models_answer()

    def _compose_search(self, request: web.Request, data: bytes, entry: LedgerEntry) -> Answer:
        if not request.headers.get("X-API-KEY"):
            return json_answer({"message": "Unauthorized.", "statusCode": 403}, status=403)
        body = _json_object(data)
        query = body.get("q") if body is not None else None
        if body is None or not isinstance(query, str) or not query:
            return json_answer({"message": "Missing query parameter", "statusCode": 400}, status=400)
        entry.subject = query
        page = body.get("page")
        return search_answer(query, page if isinstance(page, int) and page > 0 else 1, self.timing)

    def _compose_searxng(self, request: web.Request, data: bytes, entry: LedgerEntry) -> Answer:
        entry.subject = request.query.get("q", "")
        return searxng_answer(request.query, self.timing)

    def _compose_page(self, request: web.Request, data: bytes, entry: LedgerEntry) -> Answer:
        entry.subject = request.path_qs.removeprefix("/reader/")
        return page_answer(entry.subject, self.timing, is_json=JSON_TYPE in request.headers.get("Accept", ""))

    async def _read_ledger(self, request: web.Request) -> web.Response:
        """Every entry so far, and the calls in progress now and at most."""
        ledger = self.ledger
        value = {"entries": ledger.entries, "executing": ledger.executing, "peak": ledger.peak}
        return web.Response(body=orjson.dumps(value), content_type=JSON_TYPE)

    async def _clear_ledger(self, request: web.Request) -> web.Response:
        self.ledger.clear()
        return web.Response(status=204)

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Puts a JSON list of faults in force instead of those that are."""
        faults = _validated(_FAULTS, await request.read())
        self.faults.clear()
        self.faults.extend(faults)
        return web.Response(status=204)

    async def _set_script(self, request: web.Request) -> web.Response:
        """Takes a JSON list of scripted steps instead of the present script."""
        steps = _validated(_STEPS, await request.read())
        self.script.clear()
        self.script.extend(steps)
        return web.Response(status=204)

    async def _set_timing(self, request: web.Request) -> web.Response:
        """Takes a JSON object of timings; what it leaves out is as in workload W."""
        self.timing = _validated(_TIMING, await request.read())
        return web.Response(status=204)


def _validated(adapter: TypeAdapter[T], data: bytes) -> T:
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _caller(request: web.Request) -> Caller:
    headers = request.headers
    return Caller(
        run_id=headers.get("X-ThinkPool-Run", ""),
        step=headers.get("X-ThinkPool-Step", ""),
        idempotency_key=headers.get("Idempotency-Key", ""),
        api_key=headers.get("X-API-KEY", "") or headers.get("Authorization", "").removeprefix("Bearer "),
    )


def _json_object(data: bytes) -> JsonObject | None:
    try:
        value: JsonValue = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _bad_request(message: str) -> Answer:
    return json_answer({"error": {"message": message, "type": "invalid_request_error", "code": None}}, status=400)
