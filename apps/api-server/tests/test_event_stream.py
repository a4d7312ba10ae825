import asyncio
import socket

import pytest
from thinkpool_pipeline.events import MessageDelta, RunCancelled
from thinkpool_pipeline.values import RunId
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import begun_run
from thinkpool_server.testing.serving import served

RUN = RunId("run-0001")


@pytest.mark.parametrize("is_run_over", [False, True])
@pytest.mark.parametrize("is_all_at_once", [False, True])
async def test_a_reader_that_takes_nothing_is_dropped(is_all_at_once: bool, is_run_over: bool) -> None:
    service = MemoryRunService(begun_run())
    async with (
        asyncio.timeout(10),
        served(service, stream_send_timeout_seconds=0.2, heartbeat_seconds=0.1) as http,
    ):
        await http.client.post("/v1/research", json={"query": "a"})
        host, port = http.url.removeprefix("http://").split(":")
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect((host, int(port)))
            lazy.sendall(
                f"GET /v1/research/{RUN}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            await service.readers_are(1)
            for _ in range(100):
                service.append(RUN, MessageDelta(turn=1, text="x" * 100_000))
                if not is_all_at_once:
                    assert (await http.client.get("/health")).status_code == 200
            if is_run_over:
                service.append(RUN, RunCancelled(by="client", partial_report=""))
            await service.readers_are(0)
        page = (await http.client.get(f"/v1/research/{RUN}/events?limit=1000")).json()
        assert len(page["events"]) == 103 + is_run_over


async def test_a_client_that_resets_its_connection_frees_its_reader() -> None:
    service = MemoryRunService(begun_run())
    async with asyncio.timeout(5), served(service) as http:
        await http.client.post("/v1/research", json={"query": "a"})
        host, port = http.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /v1/research/{RUN}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
        await reader.readuntil(b"turn.started")
        await service.readers_are(1)
        writer.transport.abort()
        await service.readers_are(0)
