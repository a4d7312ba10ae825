"""The engine on DBOS Transact: its queue, its global limit, its claims and its recovery, on SQLite or PostgreSQL.

A workflow holds no steps: it calls `execute`, which keeps the run's own record, and ends. What is asked of the queue
goes through a `DBOSClient`, which raises when the database is away, where DBOS itself would wait for it without end.

Some of what is used is not DBOS's public interface, and is contract-tested:

- claims and what takes them back are the system database's own methods; reads of the queue go to its table;
- DBOS's threads for queues, timeouts and schedules are not started: `ClaimWorker` claims, and we have nothing else;
- a workflow whose task is cancelled records no outcome, so that a run which is handed back can be queued again;
- an outcome is recorded again and again until the database has taken it, or the run would keep its slot.
"""

import asyncio
import copy
import logging
import re
import sqlite3
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import dbos._dbos as dbos_internals
import psycopg
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from dbos._core import execute_dequeued_workflow
from sqlalchemy import Connection, create_engine, func, literal_column, select, text, update
from sqlalchemy import Engine as SqlEngine
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from thinkpool_pipeline.values import RunId

from thinkpool_server.engine.claims import RETRY_SECONDS, ClaimWorker, QueueLoad
from thinkpool_server.engine.connections import CuttableConnections
from thinkpool_server.engine.protocol import EngineLimits, Execute
from thinkpool_server.engine.sharing import TenantLoad
from thinkpool_server.engine.wake import WakeableStop
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.runs import Tenant

QUEUE: Final = "runs"
APPLICATION: Final = "thinkpool"
APPLICATION_VERSION: Final = "1"
"""Raised when a workflow's arguments change their meaning; never for a change of the loop, whose steps have names."""

EMBEDDED_EXECUTOR: Final = "local"
"""The one executor of an embedded deployment."""

CALL_SECONDS: Final = 5.0
"""How long a caller waits for the database."""

_WORKFLOW = "thinkpool.run"
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_THREADS = 2  # without a cap DBOS starts hundreds in a burst; more than two only wait for the interpreter's lock
_CALLERS = 4
_CONNECTIONS = 5
_CLOSE_SECONDS = 2.0  # for each of what a closing engine waits for
_CLAIM_TRIES = 3
_TURN = text("SELECT pg_advisory_xact_lock(6002874391) FROM set_config('lock_timeout', '1s', true)")
"""Of one purpose: whoever holds this lock claims. Who holds it longer is frozen, and the limits hold without it."""

_SQLITE_WITH_SUBSECONDS = (3, 42, 0)
_SQLITE_URL = "sqlite:///runs"  # DBOS is given an engine; of the URL it takes the dialect, and nothing that is secret
_POSTGRES_URL = "postgresql://postgres/runs"

_T = TypeVar("_T")


class _OwnEndings(logging.Filter):
    """Keeps back what DBOS says of runs that are handed back: it is no accident."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Asyncio task cancelled")


class DbosEngine:
    """Implements `Engine`. One per process, entered inside the running loop, so that workflows run on that loop.

    `database` is an SQLite file or the URL of a PostgreSQL database. `executor` names this process, anew at each start
    where several share a database; `replicas` says how many live. `announce` is called when the others should `wake`,
    because a run was queued or a slot freed here.
    """

    def __init__(
        self,
        database: Path | str,
        execute: Execute,
        limits: EngineLimits,
        *,
        executor: str = EMBEDDED_EXECUTOR,
        replicas: Callable[[], int] = lambda: 1,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        if isinstance(database, Path):
            self._sql_engine, self._cut = _sqlite_engine(database), _idle
        else:
            connections = CuttableConnections(database)
            self._sql_engine, self._cut = _postgres_engine(connections), connections.cut
        self._execute = execute
        self._limits = limits
        self._executor = executor
        self._announce = announce
        self._stop = WakeableStop()
        self._is_given_up = threading.Event()
        self._callers = ThreadPoolExecutor(max_workers=_CALLERS, thread_name_prefix="engine")
        self._closing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-close")
        self._queue = _Queue(self._sql_engine, limits, executor)
        self._worker = ClaimWorker(self._queue, limits, self._stop, replicas)
        self._dbos: Any = None

    def __repr__(self) -> str:
        return f"<DbosEngine {self._executor} {self._limits}>"

    async def __aenter__(self) -> Self:
        _prepare_logger()
        try:
            with _translated_errors():
                await asyncio.get_running_loop().run_in_executor(self._callers, self._queue.prepare)
                self._launch()
        except BaseException:
            await self._release()
            raise
        self._queue.attach(self._dbos)
        self._worker.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_claiming()
        in_thread = asyncio.get_running_loop().run_in_executor
        is_idle = await in_thread(self._closing, self._worker.join, _CLOSE_SECONDS)
        is_idle &= await self._end_workflows()
        if is_idle and not self._worker.is_away:
            with suppress(StoreUnavailable):
                await self.requeue(self._executor)
        await self._release()

    async def submit(self, run_id: RunId, *, tenant: Tenant, rank: int) -> None:
        """Queues the run; lower ranks start first. Submitting a run again changes nothing."""
        if not _RUN_ID.fullmatch(run_id):
            raise ValueError("a run's id has letters, digits, hyphens and underscores only")
        await self._call(lambda: self._queue.submit(run_id, tenant, rank))
        self._tell()

    async def withdraw(self, run_id: RunId) -> None:
        """Takes the run out of the queue, unless it has started."""
        await self._call(lambda: self._queue.withdraw(run_id))

    async def pending(self) -> set[RunId]:
        """Runs that are queued or executing, in the whole deployment."""
        return await self._call(self._queue.pending)

    async def forget(self, run_ids: Sequence[RunId]) -> None:
        """Deletes what the engine keeps of runs that have ended."""
        await self._call(lambda: self._queue.forget(run_ids))
        self._tell()

    async def executors(self) -> set[str]:
        """Executors that hold runs, alive or not."""
        return await self._call(self._queue.executors)

    async def requeue(self, executor: str) -> list[RunId]:
        """Queues again what that executor held when it died; the runs that this call queued."""
        run_ids = await self._call(lambda: self._queue.requeue(executor))
        if run_ids:
            self._tell()
        return run_ids

    def wake(self) -> None:
        """Looks at the queue now. Callable from any thread."""
        self._stop.wake()

    def stop_claiming(self) -> None:
        """Starts no more runs."""
        self._stop.set()

    def _tell(self) -> None:
        self._stop.wake()
        self._announce()

    async def _call(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, from a thread; it may still be done when the caller was told that it was not."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                with _translated_errors():
                    return await asyncio.get_running_loop().run_in_executor(self._callers, work)
        except TimeoutError as error:
            raise StoreUnavailable from error

    def _launch(self) -> None:
        self._dbos = DBOS(config=self._config())

        @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
        async def workflow(run_id: str) -> None:  # pyright: ignore[reportUnusedFunction] -- found by its name
            await self._run(RunId(run_id))

        with _without_own_threads():
            DBOS.launch()
        _record_outcomes_patiently(self._dbos._sys_db, self._is_given_up)  # noqa: SLF001 -- contract-tested

    async def _run(self, run_id: RunId) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        task.add_done_callback(lambda task: self._end(run_id, task))  # by then the outcome is recorded
        if not await self._execute(run_id):
            raise asyncio.CancelledError

    def _end(self, run_id: RunId, task: "asyncio.Task[Any]") -> None:
        self._queue.let_go(run_id)
        if task.cancelled() and self._stop.is_set():
            handing_back = asyncio.get_running_loop().run_in_executor(self._callers, self._queue.hand_back, run_id)
            handing_back.add_done_callback(lambda _: self._tell())
        else:
            self._tell()

    async def _end_workflows(self) -> bool:
        """Waits for what runs to end, then no longer; whether nothing is left."""
        tasks: set[asyncio.Task[Any]] = set(self._dbos._workflow_tasks)  # noqa: SLF001 -- contract-tested
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        self._is_given_up.set()
        for task in tasks:
            task.cancel()
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        return not tasks

    async def _release(self) -> None:
        def release() -> None:
            DBOS.destroy(destroy_registry=True)
            self._sql_engine.dispose()
            self._cut()

        await asyncio.get_running_loop().run_in_executor(self._closing, release)
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._closing.shutdown(wait=False)

    def _config(self) -> DBOSConfig:
        return {
            "name": APPLICATION,
            "system_database_url": _SQLITE_URL if self._sql_engine.dialect.name == "sqlite" else _POSTGRES_URL,
            "system_database_engine": self._sql_engine,
            "application_version": APPLICATION_VERSION,
            "executor_id": self._executor,
            "serializer": DBOSPortableJSONSerializer(),
            "max_executor_threads": _THREADS,
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.1,
            "enable_otlp": False,
            "log_level": "WARNING",
        }


class _Queue:
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

    def submit(self, run_id: RunId, tenant: Tenant, rank: int) -> None:
        self._client.enqueue(
            {
                "workflow_name": _WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": run_id,
                "app_version": APPLICATION_VERSION,
                "priority": rank,
                "queue_partition_key": tenant,
            },
            run_id,
        )

    def withdraw(self, run_id: RunId) -> None:
        # DBOS's own cancel would free the slot of a run that has started, while it still executes.
        now = int(time.time() * 1000)
        ended = {"status": "CANCELLED", "updated_at": now, "completed_at": now}
        with self._sql.begin() as connection:
            connection.execute(
                update(self._runs).where(self._is_queued & (self._runs.c.workflow_uuid == run_id)).values(ended)
            )

    def pending(self) -> set[RunId]:
        with self._reading.connect() as connection:
            return set(connection.scalars(select(self._runs.c.workflow_uuid).where(self._is_pending)))

    def forget(self, run_ids: Sequence[RunId]) -> None:
        self._client.delete_workflows(list(run_ids))

    def executors(self) -> set[str]:
        with self._reading.connect() as connection:
            return set(connection.scalars(select(self._runs.c.executor_id).where(self._is_executing).distinct()))

    def requeue(self, executor: str) -> list[RunId]:
        held = select(self._runs.c.workflow_uuid).where(self._is_executing & (self._runs.c.executor_id == executor))
        with self._reading.connect() as connection:
            run_ids = list(connection.scalars(held))
        return [run_id for run_id in run_ids if self._system.reenqueue_for_recovery(run_id, [executor], QUEUE)]

    def hand_back(self, run_id: RunId) -> None:
        with suppress(SQLAlchemyError):  # what stays behind is queued again when the engine closes
            self._system.reenqueue_for_recovery(run_id, [self._executor], QUEUE)

    # -- what the claim worker is given ------------------------------------------------------------------------------

    def load(self) -> QueueLoad:
        with _translated_errors(), self._in_turn() as connection:
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
        self._owner = str(uuid.uuid4())
        if not self._is_shared:
            yield
            return
        with _translated_errors(), self._sql.connect() as connection:
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
        settings = copy.copy(self._settings)
        settings._worker_concurrency = most  # noqa: SLF001 -- contract-tested
        with _translated_errors():
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
        with _translated_errors():
            claimed = self._system.get_workflow_statuses(list(run_ids))
        for status in claimed:
            if status["status"] == "PENDING":
                self._working.add(status["workflow_uuid"])
                execute_dequeued_workflow(self._dbos, status, self._owner)

    def let_go(self, run_id: RunId) -> None:
        """Notes that nobody works on the run here any more."""
        self._working.discard(run_id)

    def requeue_lost(self, held_here: Collection[RunId]) -> None:
        with _translated_errors():
            for run_id in held_here:
                if run_id not in self._working:
                    self._system.reenqueue_for_recovery(run_id, [self._executor], QUEUE)


def _tenant_load(tenant: Tenant, starts: Collection[int], queued: int, waiting_since: int) -> TenantLoad:
    served_at = (max(starts, default=0), 0)
    return TenantLoad(
        tenant=tenant, executing=len(starts), queued=queued, served_at=served_at, waiting_since=waiting_since
    )


def _idle(*_: object) -> None:
    """In place of a thread of DBOS's."""


@contextmanager
def _without_own_threads() -> Generator[None]:
    names = ("queue_thread", "background_jobs_thread", "dynamic_scheduler_loop")
    originals = {name: getattr(dbos_internals, name) for name in names}
    for name in names:
        setattr(dbos_internals, name, _idle)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(dbos_internals, name, original)


def _record_outcomes_patiently(system: Any, is_given_up: threading.Event) -> None:
    """Makes the record of an outcome wait for the database in steady steps, until it is given up.

    DBOS would double its pauses up to a minute and more, and keep the process from ending meanwhile.
    """
    system._retry_connection_errors = False  # noqa: SLF001 -- contract-tested
    record = system.update_workflow_outcome

    def record_patiently(*args: Any, **options: Any) -> bool:
        while True:
            try:
                return record(*args, **options)
            except (OperationalError, InterfaceError, InternalError, NoConnectionFree):
                if is_given_up.wait(RETRY_SECONDS):
                    raise

    system.update_workflow_outcome = record_patiently


@contextmanager
def _translated_errors() -> Generator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable from error


_OWN_ENDINGS = _OwnEndings()


def _prepare_logger() -> None:
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # without one, DBOS installs its own and keeps records from ours
    logger.setLevel(logging.WARNING)
    logger.addFilter(_OWN_ENDINGS)


def _postgres_engine(connections: CuttableConnections) -> SqlEngine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connections.open,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=CALL_SECONDS,
        pool_pre_ping=True,
    )


def _sqlite_engine(database: Path) -> SqlEngine:
    engine = create_engine(f"sqlite:///{database}")

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for setting in ("busy_timeout = 30000", "foreign_keys = ON", "journal_mode = WAL", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {setting}")
        if sqlite3.sqlite_version_info < _SQLITE_WITH_SUBSECONDS:
            connection.create_function("unixepoch", 1, _unixepoch)

    listen(engine, "connect", prepare)
    return engine


def _unixepoch(_modifier: str) -> float:
    """SQLite's `unixepoch('subsec')`, which older SQLite lacks."""
    return time.time()
