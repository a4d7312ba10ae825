"""SIGTERM: streams are told, runs are handed back, nothing is lost, and the process is gone within its grace."""

import asyncio

import pytest
from live_server import LiveServer, Received
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.testing.upstream import SimulatedUpstream, Timing

from conftest import OpenServer

RUNS = 20
GRACE_SECONDS = 3
SLOW = Timing(first_token_seconds=0.5, token_seconds=0.02, search_seconds=0.5, page_seconds=0.5)


async def read_until_cut(server: LiveServer, run_id: str, started: asyncio.Semaphore) -> list[Received]:
    received: list[Received] = []
    async with server.reading(run_id) as stream:
        async for event in stream:
            received += [event] if event.id else []
            if event.type == "turn.started":
                started.release()
    return received


async def test_twenty_runs_in_flight_survive_a_graceful_shutdown(
    open_server: OpenServer, slow_upstream: SimulatedUpstream
) -> None:
    slow_upstream.timing = SLOW
    environment = {
        "PIPELINE_POOL_SIZE": str(RUNS),
        "MAX_CONCURRENT_REQUESTS": str(RUNS),
        "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
    }
    started = asyncio.Semaphore(0)
    async with open_server(slow_upstream, **environment) as server, asyncio.timeout(60):
        run_ids = [await server.submit(f"Question {number}") for number in range(RUNS)]
        async with asyncio.TaskGroup() as tasks:
            readings = [tasks.create_task(read_until_cut(server, run_id, started)) for run_id in run_ids]
            for _ in range(RUNS):
                await started.acquire()
            async with asyncio.timeout(2 * GRACE_SECONDS):
                assert await server.terminate() == 0
        slow_upstream.timing = Timing(first_token_seconds=0, token_seconds=0, search_seconds=0, page_seconds=0)
        await server.start()
        for run_id, reading in zip(run_ids, readings, strict=True):
            before = reading.result()
            after = await server.events(run_id, after=before[-1].id)
            check_event_log([event.event() for event in (*before, *after)])
            assert after[-1].type == "run.completed"
            assert await server.events(run_id) == [*before, *after]


async def test_a_client_that_holds_its_request_back_does_not_double_the_grace(
    open_server: OpenServer, slow_upstream: SimulatedUpstream
) -> None:
    slow_upstream.timing = Timing(first_token_seconds=60, token_seconds=0)
    started = asyncio.Semaphore(0)
    async with open_server(slow_upstream, SHUTDOWN_GRACE_SECONDS=str(GRACE_SECONDS)) as server, asyncio.timeout(60):
        run_id = await server.submit("Why?")
        _, half = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        half.write(b"POST /v1/research HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read_until_cut(server, run_id, started))
            await started.acquire()
            async with asyncio.timeout(2 * GRACE_SECONDS):
                assert await server.terminate() == 0
        half.close()


async def test_a_second_server_on_the_same_directory_refuses_to_start(open_server: OpenServer) -> None:
    async with open_server() as server:
        second = open_server()
        with pytest.raises(AssertionError, match="DATA_DIR is in use by another server process"):
            await second.start()
        await second.kill()
        assert (await server.health())["status"] == "ok"


async def test_a_wrong_setting_names_itself_and_stops_the_start(open_server: OpenServer) -> None:
    server = open_server(PIPELINE_POOL_SIZE="nine")
    with pytest.raises(AssertionError, match="PIPELINE_POOL_SIZE") as refusal:
        await server.start()
    assert "nine" not in str(refusal.value)
    assert await server.process.wait() == 2
    await server.kill()
