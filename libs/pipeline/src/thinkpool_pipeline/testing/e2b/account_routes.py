"""E2B's API: sandboxes are made, found, connected to, given time and killed."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.testing.e2b.fleet import Fleet, LiveSandbox, new_record
from thinkpool_pipeline.testing.e2b.replies import created, error_reply, json_reply, listed
from thinkpool_pipeline.values import JsonObject

_PAGE_LIMIT = 100


@dataclass(slots=True, kw_only=True)
class AccountLimits:
    """What the account may do; a test may change it at any time."""

    api_keys: frozenset[str] | None = None
    """None takes every key."""
    max_alive: int | None = None
    """Sandboxes at once, over all keys; beyond, a creation gets 429."""
    creations_per_second: float | None = None
    """Creations that come sooner after one another get 429."""
    creation_seconds: float = 0.0
    """What a creation takes; it is gone through with though its client leaves."""


class AccountRoutes:
    """The handlers."""

    def __init__(self, fleet: Fleet, limits: AccountLimits, tasks: SharedTasks) -> None:
        self._fleet = fleet
        self._limits = limits
        self._tasks = tasks
        self._creations: dict[str, tuple[bytes, asyncio.Task[LiveSandbox]]] = {}
        self._pending = 0
        self._last_creation_at = float("-inf")

    def is_known(self, api_key: str) -> bool:
        """Whether the account has this key."""
        return bool(api_key) and (self._limits.api_keys is None or api_key in self._limits.api_keys)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """`POST /v2/sandboxes`; an idempotency key that was used before gets the sandbox of then."""
        body, key = await request.read(), request.headers.get("idempotency-key", "")
        known = self._creations.get(key)
        if known is None:
            refusal = self._refusal()
            if refusal is not None:
                return refusal
            self._pending += 1
            task = self._tasks.start(self._create(request.headers.get("x-api-key", ""), key, body))
            known = (body, task)
            if key:
                self._creations[key] = known
        if known[0] != body:
            return error_reply(409, "The idempotency key was used for another request.")
        return json_reply(created(await asyncio.shield(known[1])), status=201)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """`GET /v2/sandboxes`: filtered by metadata, in pages."""
        wanted = {unquote(key): unquote(value) for key, value in parse_qsl(request.query.get("metadata", ""))}
        found = [
            sandbox
            for sandbox in self._fleet.of_key(request.headers.get("x-api-key", ""))
            if wanted.items() <= sandbox.record.metadata.items()
        ]
        start = int(request.query.get("nextToken", "0"))
        end = start + min(int(request.query.get("limit", _PAGE_LIMIT)), _PAGE_LIMIT)
        headers = {"x-next-token": str(end)} if end < len(found) else {}
        return json_reply([listed(sandbox) for sandbox in found[start:end]], headers=headers)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """`POST /v2/sandboxes/{id}/connect`: never shortens the sandbox's time."""
        sandbox = self._found(request)
        if sandbox is None:
            return _not_found(request)
        seconds = _seconds(orjson.loads(await request.read()))
        if seconds > (sandbox.ends_at - sandbox.started_at).total_seconds():
            self._fleet.end_after(sandbox, seconds)
        return json_reply(created(sandbox))

    async def timeout(self, request: web.Request) -> web.StreamResponse:
        """`POST /sandboxes/{id}/timeout`."""
        sandbox = self._found(request)
        if sandbox is None:
            return _not_found(request)
        self._fleet.end_after(sandbox, _seconds(orjson.loads(await request.read())))
        return web.Response(status=204)

    async def kill(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /sandboxes/{id}`."""
        sandbox = self._found(request)
        if sandbox is None:
            return _not_found(request)
        self._fleet.end(sandbox.record.sandbox_id, "killed")
        return web.Response(status=204)

    def _refusal(self) -> web.Response | None:
        limits, now = self._limits, time.monotonic()
        pace = limits.creations_per_second
        if pace is not None and now - self._last_creation_at < 1 / pace:
            return error_reply(429, "Rate limit exceeded", headers={"Retry-After": "1"})
        if limits.max_alive is not None and self._fleet.count + self._pending >= limits.max_alive:
            return error_reply(429, f"you have reached the maximum number of sandboxes ({limits.max_alive})")
        self._last_creation_at = now
        return None

    async def _create(self, api_key: str, key: str, body: bytes) -> LiveSandbox:
        try:
            await asyncio.sleep(self._limits.creation_seconds)
            return self._fleet.open(new_record(orjson.loads(body), api_key=api_key, idempotency_key=key))
        finally:
            self._pending -= 1

    def _found(self, request: web.Request) -> LiveSandbox | None:
        """The sandbox, if it is the key's own."""
        sandbox = self._fleet.find(request.match_info["id"])
        is_own = sandbox is not None and sandbox.record.api_key == request.headers.get("x-api-key")
        return sandbox if is_own else None


def _seconds(body: JsonObject) -> int:
    seconds = body.get("timeout", 300)
    assert isinstance(seconds, int)
    return seconds


def _not_found(request: web.Request) -> web.Response:
    return error_reply(404, f"Sandbox {request.match_info['id']!r} not found")
