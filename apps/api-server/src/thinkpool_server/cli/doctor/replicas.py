"""The replicas that the database knows of, and the runs that wait for them."""

from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row

from thinkpool_server.cli.doctor.findings import Finding, ok, warning
from thinkpool_server.replicas.membership import SILENCE_SECONDS
from thinkpool_server.settings import Settings

CHECK: Final = "replicas"

_SHOWN = 6
_HAS_REPLICAS: Final[LiteralString] = "SELECT to_regclass('thinkpool.replicas') IS NOT NULL"
_REPLICAS: Final[LiteralString] = """
SELECT executor, host, slots, extract(epoch FROM clock_timestamp() - seen_at)::double precision AS silent_seconds
FROM thinkpool.replicas ORDER BY started_at, executor
"""
_RUNS: Final[LiteralString] = """
SELECT count(*) FILTER (WHERE status = 'queued') AS waiting, count(*) FILTER (WHERE status <> 'queued') AS executing
FROM thinkpool.runs WHERE finished_at IS NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replica:
    executor: str
    host: str
    slots: int
    silent_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    waiting: int
    executing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFindings:
    """What there is to say of the replicas."""

    live: int
    findings: tuple[Finding, ...]


async def replica_findings(connection: AsyncConnection[tuple[Any, ...]], settings: Settings) -> ReplicaFindings:
    """Who lives, and what waits.

    Raises:
        psycopg.Error: the tables cannot be read.

    """
    row = await (await connection.execute(_HAS_REPLICAS)).fetchone()
    if row is None or not row[0]:
        return ReplicaFindings(live=0, findings=())
    replicas = await (await connection.cursor(row_factory=class_row(_Replica)).execute(_REPLICAS)).fetchall()
    runs = await (await connection.cursor(row_factory=class_row(_Runs)).execute(_RUNS)).fetchone()
    assert runs is not None
    live = [replica for replica in replicas if replica.silent_seconds <= SILENCE_SECONDS]
    silent = [_silent(replica) for replica in replicas if replica.silent_seconds > SILENCE_SECONDS]
    return ReplicaFindings(live=len(live), findings=(*_live(live, runs, settings), *silent))


def _live(live: list[_Replica], runs: _Runs, settings: Settings) -> list[Finding]:
    work = f"{runs.executing} runs execute, {runs.waiting} wait"
    if not live:
        if runs.executing or runs.waiting:
            return [warning(CHECK, f"none, and runs are waiting for one: {work}", mend="start one: `thinkpool serve`")]
        return [ok(CHECK, "none now")]
    slots = sum(replica.slots for replica in live)
    seen = [f"{replica.executor} ({replica.slots} slots, seen {replica.silent_seconds:.1f} s ago)" for replica in live]
    listed = ", ".join([*seen[:_SHOWN], *([f"{len(seen) - _SHOWN} more"] if len(seen) > _SHOWN else [])])
    limit = settings.max_concurrent_requests
    return [ok(CHECK, f"{len(live)}: {listed}"), ok(CHECK, f"{work}; {slots} slots, at most {limit} used at once")]


def _silent(replica: _Replica) -> Finding:
    return warning(
        CHECK,
        f"{replica.executor} on {replica.host} was last seen {replica.silent_seconds:.0f} s ago",
        mend="see whether it is frozen or cut off; if it is gone, nothing: the next replica takes its runs",
    )
