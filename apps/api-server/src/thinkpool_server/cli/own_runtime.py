"""What the command line does with a runtime of its own: serve it, or ask it one question."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

from thinkpool_server.app import create_app
from thinkpool_server.cli.asked_run import AskedRun
from thinkpool_server.cli.local_run import open_local_run
from thinkpool_server.cli.serving import listening_socket, reachable_url, serve
from thinkpool_server.errors import ReplicaLost
from thinkpool_server.protocols import Runtime
from thinkpool_server.runtime import build_runtime
from thinkpool_server.service_statistics import ToolFigures
from thinkpool_server.settings import Settings


async def serve_runtime(settings: Settings) -> None:
    """Serves until a signal comes, and says on standard output where and with what.

    Raises:
        ConfigurationError: a setting does not fit this machine, such as a port or a data directory that is in use.
        ReplicaLost: the other replicas took this one for dead; a new start gives it a new place.

    """
    untaken_seconds = settings.stream_send_timeout_seconds
    with listening_socket(settings.host, settings.port, untaken_seconds=untaken_seconds) as listener:
        url = reachable_url(listener)
        async with build_runtime(settings, url=url) as runtime:

            def announce() -> None:
                print("\n".join(greeting(runtime, url)), flush=True)

            app = create_app(settings, lambda _: nullcontext(runtime))
            await serve(app, settings, listener, announce=announce, drain=runtime.drain, lost=runtime.lost)
        if runtime.lost.is_set():
            raise ReplicaLost


@asynccontextmanager
async def open_own_run(settings: Settings, question: str) -> AsyncGenerator[AskedRun]:
    """A run in this process, whatever replicas there are elsewhere."""
    alone = settings.model_copy(update={"database_url": None})
    async with build_runtime(alone) as runtime, open_local_run(runtime, question) as run:
        yield run


async def offer_own_tools(settings: Settings) -> None:
    """Serves an MCP client over standard streams with a runtime of this process; returns when the client has left."""
    from thinkpool_server.cli.mcp_stdio import serve_tools_of  # its imports cost what other commands need not pay

    alone = settings.model_copy(update={"database_url": None, "disconnect_grace_seconds": 0.0})
    async with build_runtime(alone) as runtime:
        await serve_tools_of(runtime)


def greeting(runtime: Runtime, url: str) -> list[str]:
    """What a started server says of itself, line by line."""
    settings = runtime.settings
    without = ": no language model; set BASE_URL to attach one" if settings.model_name == "builtin" else ""
    endpoint = f" at {settings.base_url}" if settings.base_url else without
    return [
        f"model           {settings.model_name}{endpoint}",
        f"tools           {_tools(runtime.service.statistics().tools)}",
        f"data directory  {settings.data_dir.resolve()}",
        *([] if settings.database_url is None else _place_among_replicas(runtime)),
        f"pool            {settings.pipeline_pool_size} pipelines; {settings.max_concurrent_requests} runs at once, "
        f"{settings.max_queued_requests} may wait",
        f"access          {'with a key' if settings.server_api_keys else 'open to whoever reaches it'}",
        f"listening on {url}",
    ]


def _place_among_replicas(runtime: Runtime) -> list[str]:
    figures = runtime.service.statistics()
    others = figures.replicas - 1
    return [
        f"database        PostgreSQL; {others} other {'replica' if others == 1 else 'replicas'}",
        f"replica         {figures.replica}",
    ]


def _tools(figures: ToolFigures) -> str:
    servers = [f"{server.name} (MCP)" for server in figures.mcp_servers]
    offered = ", ".join([*figures.offered, *servers]) or "none"
    reasons = dict.fromkeys(figures.missing.values())
    return "; ".join([offered, *(f"{_missing(figures, reason)}: {reason}" for reason in reasons)])


def _missing(figures: ToolFigures, reason: str) -> str:
    return "no " + ", ".join(name for name, why in figures.missing.items() if why == reason)
