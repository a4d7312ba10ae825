"""E2B on a loopback port: its API and its sandboxes, for the SDK as it is, with faults on demand and a ledger.

```python
async with SimulatedE2B() as e2b:
    sandbox = await AsyncSandbox.create(api_key="k", api_url=e2b.url, sandbox_url=e2b.url, retries=0)
```

The programs it is given run on this machine, unconfined: it is for tests, which write those programs.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

from aiohttp import web

from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.testing.e2b import sandbox_routes
from thinkpool_pipeline.testing.e2b.account_routes import AccountLimits, AccountRoutes
from thinkpool_pipeline.testing.e2b.faults import Fault, FaultPlan
from thinkpool_pipeline.testing.e2b.fleet import Fleet, LiveSandbox
from thinkpool_pipeline.testing.e2b.ledger import RUN_KEY, CallRecord, Endpoint, Ledger
from thinkpool_pipeline.testing.e2b.replies import error_reply, no_sandbox_reply

_BODY_BYTES = 256 * 1024 * 1024
_SHUTDOWN_SECONDS = 0.1
_ODD_BODY = b'["something", {"else": 1}]\n'

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_AccountHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SandboxHandler: TypeAlias = Callable[[web.Request, LiveSandbox, Fault | None], Awaitable[web.StreamResponse]]


class SimulatedE2B:
    """E2B on 127.0.0.1, serving for the length of the `async with` block; what is alive then ends with it."""

    def __init__(self, limits: AccountLimits | None = None) -> None:
        self.limits = limits or AccountLimits()
        self.ledger = Ledger()
        self.faults = FaultPlan()
        self.url = ""
        """Of the API and of the sandboxes; without a slash at its end."""
        self._fleet = Fleet(self.ledger)
        self._tasks = SharedTasks()
        self._account = AccountRoutes(self._fleet, self.limits, self._tasks)
        self._stack = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        return f"<SimulatedE2B {self.url} {self.ledger!r}>"

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._fleet)
        self._stack.push_async_callback(self._tasks.aclose)
        runner = web.AppRunner(
            self._application(), handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def lose(self, run_id: str = "*") -> None:
        """Ends the sandboxes of a run, or all, as if their machine had failed."""
        for record in self.ledger.alive:
            if run_id in ("*", record.run_id):
                self._fleet.end(record.sandbox_id, "lost")

    def _application(self) -> web.Application:
        account = self._account
        app = web.Application(client_max_size=_BODY_BYTES)
        app.add_routes(
            [
                web.post("/v2/sandboxes", self._of_account("create", account.create)),
                web.get("/v2/sandboxes", self._of_account("list", account.list)),
                web.post("/v2/sandboxes/{id}/connect", self._of_account("connect", account.connect)),
                web.post("/sandboxes/{id}/timeout", self._of_account("timeout", account.timeout)),
                web.delete("/sandboxes/{id}", self._of_account("kill", account.kill)),
                web.post("/execute", self._of_sandbox("execute", sandbox_routes.execute)),
                web.get("/health", self._of_sandbox("health", sandbox_routes.health)),
                web.post("/files", self._of_sandbox("write", sandbox_routes.write)),
                web.get("/files", self._of_sandbox("read", sandbox_routes.read)),
                web.post("/filesystem.Filesystem/ListDir", self._of_sandbox("list-files", sandbox_routes.list_files)),
                web.post("/process.Process/Start", self._of_sandbox("start", sandbox_routes.start)),
                web.post("/process.Process/SendSignal", self._of_sandbox("signal", sandbox_routes.signal)),
            ]
        )
        return app

    def _of_account(self, endpoint: Endpoint, answer: _AccountHandler) -> _Handler:
        """A handler that takes one of the account's keys."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if not self._account.is_known(request.headers.get("x-api-key", "")):
                return error_reply(401, "The API key is not known.")
            return await answer(request)

        return self._noted(endpoint, lambda request, _: handle(request))

    def _of_sandbox(self, endpoint: Endpoint, answer: _SandboxHandler) -> _Handler:
        """A handler that takes a sandbox's own token, and says so when the sandbox is gone."""

        async def handle(request: web.Request, fault: Fault | None) -> web.StreamResponse:
            sandbox_id = request.headers.get("e2b-sandbox-id", "")
            sandbox = self._fleet.find(sandbox_id)
            if sandbox is None:
                return no_sandbox_reply(sandbox_id)
            if request.headers.get("x-access-token") != sandbox.access_token:
                return error_reply(401, "unauthorized access, please provide a valid access token")
            return await answer(request, sandbox, fault)

        return self._noted(endpoint, handle)

    def _noted(
        self, endpoint: Endpoint, answer: Callable[[web.Request, Fault | None], Awaitable[web.StreamResponse]]
    ) -> _Handler:
        """A handler that notes the call, and answers or does what a fault makes of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = await self._call(endpoint, request)
            self.ledger.note(call)
            fault = self.faults.pick(call)
            call.fault = "" if fault is None else fault.kind
            try:
                response = await self._answered(request, call, fault, answer)
            except asyncio.CancelledError:
                call.is_left = True
                raise
            except ConnectionError:
                call.is_left = True
                return web.Response()  # to nobody
            finally:
                self.ledger.announce()
            call.status = response.status
            return response

        return handle

    async def _answered(
        self,
        request: web.Request,
        call: CallRecord,
        fault: Fault | None,
        answer: Callable[[web.Request, Fault | None], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        kind = "" if fault is None else fault.kind
        if fault is None or kind == "truncated":
            return await answer(request, fault)
        if kind in ("reset", "unheard"):
            if kind == "unheard":
                await answer(request, None)
            sandbox_routes.reset(request)
            raise ConnectionError
        if kind == "stall":
            await asyncio.Event().wait()
        if kind == "slow":
            await asyncio.sleep(fault.seconds)
        if kind == "lost":
            self._fleet.end(call.sandbox_id, "lost")
        return _spoilt(fault, call.endpoint) or await answer(request, None)

    async def _call(self, endpoint: Endpoint, request: web.Request) -> CallRecord:
        sandbox_id = request.match_info.get("id") or request.headers.get("e2b-sandbox-id", "")
        sandbox = self._fleet.find(sandbox_id)
        run_id = "" if sandbox is None else sandbox.record.run_id
        if endpoint == "create":
            run_id = str((await request.json()).get("metadata", {}).get(RUN_KEY, ""))
        return CallRecord(
            number=len(self.ledger.calls) + 1,
            endpoint=endpoint,
            api_key=request.headers.get("x-api-key", ""),
            sandbox_id=sandbox_id,
            run_id=run_id,
            idempotency_key=request.headers.get("idempotency-key", ""),
            at=time.monotonic(),
        )


def _spoilt(fault: Fault, endpoint: Endpoint) -> web.Response | None:
    """What comes instead of the answer; None where the answer comes."""
    if fault.kind == "status":
        wait = fault.retry_after_seconds
        return error_reply(
            fault.status, "Something failed.", headers=None if wait is None else {"Retry-After": f"{wait}"}
        )
    if fault.kind == "html":
        return web.Response(status=fault.status, text="<html><h1>Bad gateway</h1></html>", content_type="text/html")
    status = 201 if endpoint == "create" else 200
    if fault.kind == "garbage":
        return web.Response(status=status, body=b"\x00\xff\xfe{{{", content_type="application/json")
    if fault.kind == "odd":
        return web.Response(status=status, body=_ODD_BODY, content_type="application/json")
    return None
