"""An application on a real socket of this machine, for tests: transports in memory buffer streams."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from starlette.types import ASGIApp

from thinkpool_server.app import create_app
from thinkpool_server.settings import Settings
from thinkpool_server.testing.api_contract import ContractChecked, api_contract
from thinkpool_server.testing.memory_service import MemoryDocuments, MemoryRunService, memory_runtime


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_listening.set()


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncGenerator[str]:
    """The URL at which the application answers, for the length of the block."""
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=2)
    server = _Server(config)
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        # No task group: it would wrap a test's failure.
        running = asyncio.ensure_future(server.serve([listener]))
        try:
            await server.is_listening.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@dataclass(frozen=True, kw_only=True)
class Served:
    """The server's application around a service in memory, and a client of it."""

    url: str
    client: httpx.AsyncClient
    service: MemoryRunService


@asynccontextmanager
async def served(
    service: MemoryRunService | None = None, *, documents: MemoryDocuments | None = None, **settings: object
) -> AsyncGenerator[Served]:
    """The application with these settings, on a real socket, for the length of the block.

    Raises:
        AssertionError: something was sent that the API's description does not say.

    """
    service = service or MemoryRunService()
    chosen = Settings.model_validate({"shutdown_grace_seconds": 0.1, **settings})
    app = ContractChecked(create_app(chosen, memory_runtime(service, documents)), api_contract())
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client,
    ):
        yield Served(url=url, client=client, service=service)
    assert not app.faults, "\n".join(app.faults)
