"""The server's figures at one moment, as values: what `/health`, `/ready` and `/metrics` tell. Cheap to make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from thinkpool_pipeline.outward import ErrorKind, ProviderName
from thinkpool_pipeline.protocols import LimiterStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFigures:
    """The pipeline pool of this replica."""

    size: int
    idle: int
    in_use: int
    waiting: int
    """Runs that wait for a pipeline."""
    broken: int
    """Pipelines that are gone and not replaced yet."""
    replaced: int
    """Pipelines replaced since the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFigures:
    """One service that runs depend on, since the start."""

    name: ProviderName
    requests: int = 0
    """Attempts sent."""
    errors: Mapping[ErrorKind, int] = field(default_factory=dict[ErrorKind, int])
    """Attempts that failed, by kind."""
    rate_limited: int = 0
    """Attempts answered with 429."""
    retries: int = 0
    in_flight: int = 0
    """Attempts that are out now."""
    waiting: int = 0
    """Attempts that wait for a place among them."""
    is_breaker_open: bool = False
    keys: int = 0
    """Keys there are."""
    keys_resting: int = 0
    """Those of them that were refused and are left alone for now."""
    cache_hits: int = 0
    cache_misses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeFigures:
    """The local documents."""

    state: Literal["none", "indexing", "ready"] = "none"
    documents: int = 0
    passages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServerFigures:
    """One MCP server."""

    name: str
    transport: Literal["stdio", "http"]
    sessions_open: int
    sessions_expected: int
    tools: int
    """On offer."""
    losses: int
    """Sessions that ended by themselves, since the start."""
    last_error: str = ""
    """Why a session is not open; one line, without addresses and secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFigures:
    """What runs may call."""

    offered: tuple[str, ...] = ()
    """By name; the tools of MCP servers are counted with their server."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why a tool is not offered now, by its name."""
    sandbox: str | None = None
    """Where code runs: `e2b` or `local`; None where it does not."""
    mcp_servers: tuple[McpServerFigures, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatistics:
    """The whole service."""

    active_runs: int
    """Runs executing in this replica."""
    queued_runs: int
    """Runs waiting in the whole deployment."""
    pool: PoolFigures
    limiter: LimiterStatistics
    """The global limit: slots held and in all."""
    engine: str
    """Its name, such as `dbos-sqlite`."""
    replica: str = "local"
    """This process's name among the replicas, new at each start; `local` where it is alone."""
    queue_limit: int = 0
    """Runs that may wait; beyond them, requests are refused."""
    replicas: int = 1
    """Processes that serve the deployment, this one included."""
    open_streams: int = 0
    event_log_lag_seconds: float = 0.0
    """Age of the oldest event that is not committed yet; 0 when all are."""
    resumed_runs: int = 0
    """Runs taken up again after a restart or a takeover, since the start."""
    repeated_steps: int = 0
    """Steps begun again because an earlier attempt left them half done, since the start."""
    upstreams: tuple[UpstreamFigures, ...] = ()
    knowledge: KnowledgeFigures = field(default_factory=KnowledgeFigures)
    tools: ToolFigures = field(default_factory=ToolFigures)
    is_started: bool = True
    """Whether the first pipeline is ready."""
    is_draining: bool = False
    is_database_ok: bool = True
