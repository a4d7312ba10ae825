"""The run queue on DBOS's system database: what the engine asks of it, and what the claim worker is given.

It goes through a `DBOSClient`, which raises when the database is away, where DBOS itself would wait for it without end.
Claims and what takes them back are the system database's own methods; reads of the queue go to its table. Neither is
DBOS's public interface: both are contract-tested.
"""

import copy
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Final

import psycopg
from dbos import DBOSClient, DBOSPortableJSONSerializer
from dbos._core import execute_dequeued_workflow
from sqlalchemy import Connection, delete, func, literal_column, select, text, update
from sqlalchemy import Engine as SqlEngine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from thinkpool_pipeline.values import RunId

from thinkpool_server.engine.claims import QueueLoad
from thinkpool_server.engine.protocol import EngineLimits, QueuedRun
from thinkpool_server.engine.sharing import TenantLoad
from thinkpool_server.engine.sql_engines import translated_errors
from thinkpool_server.runs import Tenant

QUEUE: Final = "runs"
WORKFLOW: Final = "thinkpool.run"
APPLICATION: Final = "thinkpool"
APPLICATION_VERSION: Final = "1"
"""Raised when a workflow's arguments change their meaning; never for a change of the loop, whose steps have names."""

_CLAIM_TRIES = 3
_TURN = text("SELECT pg_advisory_xact_lock(6002874391) FROM set_config('lock_timeout', '1s', true)")
"""Of one purpose: whoever holds this lock claims. Who holds it longer is frozen, and the limits hold without it."""


class DbosQueue:
    """Implements `RunQueue`, and does what the engine is asked to; for threads.

    What the engine is asked raises SQLAlchemy's errors.
    """

    def __init__(self, sql_engine: SqlEngine, limits: EngineLimits, executor: str) -> None:
        self._limits = limits
        self._executor = executor
        self._client = DBOSClient(
            system_database_engine=sql_engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            retry_connection_errors=False,
            lazy=True,
        )
        client: Any = self._client
        self._system = client._sys_db  # noqa: SLF001 -- contract-tested
        self._sql: SqlEngine = self._system.engine
        self._is_shared = sql_engine.dialect.name == "postgresql"
        # SQLite begins no transaction to read, and would forget how ours begin.
        self._reading = self._sql.execution_options(isolation_level="AUTOCOMMIT") if self._is_shared else self._sql
        self._runs = self._system.tables.workflow_status
        in_queue = self._runs.c.queue_name == QUEUE
        # Both: the first is the predicate of the partial index as SQLite wants it, the second is what is meant.
        self._is_pending = in_queue & self._runs.c.status.in_(
            [literal_column("'ENQUEUED'"), literal_column("'PENDING'")]
        )
        self._is_queued = self._is_pending & (self._runs.c.status == literal_column("'ENQUEUED'"))
        self._is_executing = self._is_pending & (self._runs.c.status == literal_column("'PENDING'"))
        columns = self._runs.c
        tenant = columns.queue_partition_key
        self._executing_runs = select(
            columns.workflow_uuid, tenant, columns.executor_id, columns.started_at_epoch_ms
        ).where(self._is_executing)
        self._queued_runs = (
            select(tenant, func.count(), func.min(columns.created_at)).where(self._is_queued).group_by(tenant)
        )
        self._settings: Any = None
        self._dbos: Any = None
        self._owner = ""
        """The token of this turn's claims."""
        self._turn: Connection | None = None
        self._working: set[RunId] = set()

    def prepare(self) -> None:
        """Brings the tables up to date, and queues again what a process of this name held when it died."""
        self._system.run_migrations()
        self._settings = self._client.register_queue(
            QUEUE,
            global_concurrency=self._limits.in_deployment,
            worker_concurrency=min(self._limits.in_replica, self._limits.in_deployment),
            partition_concurrency=min(self._limits.per_tenant, self._limits.in_deployment),
            on_conflict="always_update",
        )
        self.requeue(self._executor)

    def attach(self, dbos: Any) -> None:
        """What executes the workflows."""
        self._dbos = dbos

    # -- what the engine is asked ------------------------------------------------------------------------------------

    def submit(self, runs: Sequence[QueuedRun]) -> None:
        """Queues the runs, in one transaction; again changes nothing."""
        with self._sql.begin() as connection:
            for run in runs:
                self._client.enqueue_in_transaction(
                    connection,
                    {
                        "workflow_name": WORKFLOW,
                        "queue_name": QUEUE,
                        "workflow_id": run.run_id,
                        "app_version": APPLICATION_VERSION,
                        "priority": run.rank,
                        "queue_partition_key": run.tenant,
                    },
                    run.run_id,
                )

    def resubmit(self, run: QueuedRun) -> None:
        """Queues the run again, unless it is queued or executes."""
        is_this = self._runs.c.workflow_uuid == run.run_id
        with self._sql.begin() as connection:
            connection.execute(delete(self._runs).where(is_this & ~self._is_pending))
        self.submit([run])

    def withdraw(self, run_id: RunId) -> None:
        """Takes the run out, unless it has started."""
        # DBOS's own cancel would free the slot of a run that has started, while it still executes.
        now = int(time.time() * 1000)
        ended = {"status": "CANCELLED", "updated_at": now, "completed_at": now}
        with self._sql.begin() as connection:
            connection.execute(
                update(self._runs).where(self._is_queued & (self._runs.c.workflow_uuid == run_id)).values(ended)
            )

    def pending(self) -> set[RunId]:
        """Runs that are queued or executing."""
        with self._reading.connect() as connection:
            return set(connection.scalars(select(self._runs.c.workflow_uuid).where(self._is_pending)))

    def forget(self, run_ids: Sequence[RunId]) -> None:
        """Deletes these runs."""
        self._client.delete_workflows(list(run_ids))

    def executors(self) -> set[str]:
        """Executors that hold runs."""
        with self._reading.connect() as connection:
            return set(connection.scalars(select(self._runs.c.executor_id).where(self._is_executing).distinct()))

    def requeue(self, executor: str) -> list[RunId]:
        """Queues again what that executor holds; the runs that this call queued."""
        held = select(self._runs.c.workflow_uuid).where(self._is_executing & (self._runs.c.executor_id == executor))
        with self._reading.connect() as connection:
            run_ids = list(connection.scalars(held))
        return [run_id for run_id in run_ids if self._system.reenqueue_for_recovery(run_id, [executor], QUEUE)]

    def hand_back(self, run_id: RunId) -> None:
        """Queues again a run that was stopped here."""
        with suppress(SQLAlchemyError):  # what stays behind is queued again when the engine closes
            self._system.reenqueue_for_recovery(run_id, [self._executor], QUEUE)

    # -- what the claim worker is given ------------------------------------------------------------------------------

    def load(self) -> QueueLoad:
        """Who has runs, executing and queued."""
        with translated_errors(), self._in_turn() as connection:
            executing = connection.execute(self._executing_runs).all()
            queued = connection.execute(self._queued_runs).all()
        starts: defaultdict[Tenant, list[int]] = defaultdict(list)
        for _, tenant, _, started_at in executing:
            starts[tenant].append(started_at)
        waiting = {tenant: (count, since) for tenant, count, since in queued}
        return QueueLoad(
            tenants=[
                _tenant_load(tenant, starts[tenant], *waiting.get(tenant, (0, 0))) for tenant in {*starts, *waiting}
            ],
            held_here=[run_id for run_id, _, executor, _ in executing if executor == self._executor],
        )

    @contextmanager
    def turn(self) -> Generator[None]:
        """A turn to claim, while other executors wait for theirs, though not for long."""
        self._owner = str(uuid.uuid4())
        if not self._is_shared:
            yield
            return
        with translated_errors(), self._sql.connect() as connection:
            try:
                connection.execute(_TURN)
            except OperationalError as error:
                if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                    raise
                connection.rollback()
            self._turn = connection
            try:
                yield
            finally:
                self._turn = None

    def _in_turn(self) -> AbstractContextManager[Connection]:
        return self._reading.connect() if self._turn is None else nullcontext(self._turn)

    def claim(self, tenant: Tenant, most: int) -> Sequence[RunId]:
        """Claims at most so many of the tenant's runs, in order."""
        settings = copy.copy(self._settings)
        settings._worker_concurrency = most  # noqa: SLF001 -- contract-tested
        with translated_errors():
            for _ in range(_CLAIM_TRIES):
                try:
                    claimed, _ = self._system.start_queued_workflows(
                        settings,
                        self._executor,
                        APPLICATION_VERSION,
                        tenant,
                        owner_xid=self._owner,
                        is_latest_version=True,
                    )
                except DBAPIError as error:
                    if not (self._system.is_serialization_conflict(error) or self._system.is_lock_conflict(error)):
                        raise
                else:
                    return claimed
        return ()

    def start(self, run_ids: Sequence[RunId]) -> None:
        """Starts what was claimed."""
        with translated_errors():
            claimed = self._system.get_workflow_statuses(list(run_ids))
        for status in claimed:
            if status["status"] == "PENDING":
                self._working.add(status["workflow_uuid"])
                execute_dequeued_workflow(self._dbos, status, self._owner)

    def let_go(self, run_id: RunId) -> None:
        """Notes that nobody works on the run here any more."""
        self._working.discard(run_id)

    def requeue_lost(self, held_here: Collection[RunId]) -> None:
        """Queues again what this executor holds and nobody works on."""
        with translated_errors():
            for run_id in held_here:
                if run_id not in self._working:
                    self._system.reenqueue_for_recovery(run_id, [self._executor], QUEUE)


def _tenant_load(tenant: Tenant, starts: Collection[int], queued: int, waiting_since: int) -> TenantLoad:
    served_at = (max(starts, default=0), 0)
    return TenantLoad(
        tenant=tenant, executing=len(starts), queued=queued, served_at=served_at, waiting_since=waiting_since
    )
