"""After the blows: waits for every accepted run to end, and reads back all that the service says of it."""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
from pydantic import JsonValue

from chaos.clients import Clients
from chaos.history import LoggedEvent, RunState
from chaos.recorder import Recorder
from chaos.world import World

_AT_ONCE = 12
_POLL_SECONDS = 0.25
_PAGE_EVENTS = 1000
_ENDED = ("completed", "failed", "cancelled", "unknown")
_TIMEOUT = aiohttp.ClientTimeout(total=20.0)


async def collect(world: World, clients: Mapping[str, Clients], recorder: Recorder, *, seconds: float) -> None:
    """Completes the record: final states, stored logs, each replica's own reading of each log, the ledger.

    `clients`: by tenant. Runs that have not ended after so many seconds are read as they are.
    """
    history = recorder.history
    tenants = {post.run_id: post.tenant for post in history.posts if post.is_accepted}
    deadline = time.monotonic() + seconds
    gate = asyncio.Semaphore(_AT_ONCE)

    async def of_run(run_id: str) -> RunState:
        async with gate:
            of_tenant = clients[tenants[run_id]]
            state = await _ended_state(world, of_tenant, run_id, deadline)
            for replica in world.replicas:
                if state.status in _ENDED[:-1] and replica.is_serving:
                    await of_tenant.read_back(run_id, replica.url)
        return state

    async with asyncio.TaskGroup() as tasks:
        readings = [tasks.create_task(of_run(run_id)) for run_id in sorted(tenants)]
    history.runs = [reading.result() for reading in readings]
    history.calls = [call for call in world.calls if call.run_id in tenants]


async def _ended_state(world: World, clients: Clients, run_id: str, deadline: float) -> RunState:
    while True:
        status, body = await _get(world, clients, f"/v1/research/{run_id}")
        word = "unknown" if status == HTTPStatus.NOT_FOUND else str(body.get("status", "unanswered"))
        if word in _ENDED or time.monotonic() > deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    events = await _events(world, clients, run_id) if word != "unknown" else ()
    attempts = body.get("attempts")
    return RunState(run_id=run_id, status=word, attempts=attempts if isinstance(attempts, int) else 0, events=events)


async def _events(world: World, clients: Clients, run_id: str) -> tuple[LoggedEvent, ...]:
    events: list[LoggedEvent] = []
    while True:
        after = events[-1].seq if events else 0
        status, page = await _get(world, clients, f"/v1/research/{run_id}/events?after={after}&limit={_PAGE_EVENTS}")
        found = page.get("events")
        if status != HTTPStatus.OK or not isinstance(found, list) or not found:
            return tuple(events)
        events += [LoggedEvent(**item) for item in found]  # pyright: ignore[reportArgumentType, reportCallIssue]
        if page.get("is_complete"):
            return tuple(events)


async def _get(world: World, clients: Clients, path: str) -> tuple[int, dict[str, JsonValue]]:
    url = next((replica.url for replica in world.replicas if replica.is_serving), world.replicas[0].url)
    headers = clients.headers() | {"Accept": "application/json"}
    try:
        async with world.session.get(url + path, headers=headers, timeout=_TIMEOUT) as reply:
            return reply.status, await reply.json() if reply.status == HTTPStatus.OK else {}
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0, {}
