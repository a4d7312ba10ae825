"""What operators and their machines are told."""

from typing import Literal

from typing_extensions import TypedDict

from thinkpool_server.service_statistics import KnowledgeFigures, McpServerFigures, PoolFigures

State = Literal["ok", "starting", "draining", "database-unreachable"]


class Readiness(TypedDict):
    """Whether work may be sent here."""

    status: State


class LimiterState(TypedDict):
    """The limit on runs at once in the whole deployment."""

    held: int
    total: int


class Health(TypedDict):
    """The figures of this replica."""

    status: State
    """`ok` when the server is ready, too."""
    version: str
    replica: str
    """This process's name among the replicas, new at each start; `local` where it is alone."""
    active_requests: int
    """Runs executing in this replica."""
    queued_requests: int
    """Runs waiting in the whole deployment."""
    pool_size: int
    pool: PoolFigures
    limiter: LimiterState
    open_streams: int
    engine: str
    """The run engine and its database, such as `dbos-sqlite`."""
    replicas: int
    """Processes that serve the deployment, this one included."""
    models: list[str]
    """The default first."""
    tools: list[str]
    """On offer, without those of MCP servers."""
    tools_missing: dict[str, str]
    """Why a tool is not offered now, by its name."""
    sandbox: str | None
    """Where code runs: `e2b` or `local`; null where it does not."""
    mcp_servers: list[McpServerFigures]
    knowledge: KnowledgeFigures
