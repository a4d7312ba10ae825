"""The engine on DBOS Transact: its queue, its global limit, its claims and its recovery, on SQLite or PostgreSQL.

A workflow holds no steps: it calls `execute`, which keeps the run's own record, and ends. Some of what is used is not
DBOS's public interface, and is contract-tested:

- DBOS's threads for queues, timeouts and schedules are not started: `ClaimWorker` claims, and we have nothing else;
- a workflow whose task is cancelled records no outcome, so that a run which is handed back can be queued again;
- an outcome is recorded again and again until the database has taken it, or the run would keep its slot.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import dbos._dbos as dbos_internals
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from thinkpool_pipeline.values import RunId

from thinkpool_server.engine.claims import RETRY_SECONDS, ClaimWorker
from thinkpool_server.engine.dbos_queue import APPLICATION, APPLICATION_VERSION, WORKFLOW, DbosQueue
from thinkpool_server.engine.protocol import EngineLimits, Execute, QueuedRun
from thinkpool_server.engine.sql_engines import postgres_engine, sqlite_engine, translated_errors
from thinkpool_server.engine.wake import WakeableStop
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.postgres.cuttable_connections import CuttableConnections

EMBEDDED_EXECUTOR: Final = "local"
"""The one executor of an embedded deployment."""

CALL_SECONDS: Final = 5.0
"""How long a caller waits for the database."""

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_THREADS = 2  # without a cap DBOS starts hundreds in a burst; more than two only wait for the interpreter's lock
_CALLERS = 4
_CLOSE_SECONDS = 2.0  # for each of what a closing engine waits for

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
            self._sql_engine, self._hang_up, self._cut = sqlite_engine(database), _idle, _idle
        else:
            connections = CuttableConnections(database, purpose="run queue")
            self._sql_engine, self._hang_up, self._cut = (
                postgres_engine(connections),
                connections.hang_up,
                connections.cut,
            )
        self._execute = execute
        self._limits = limits
        self._executor = executor
        self._announce = announce
        self._stop = WakeableStop()
        self._is_given_up = threading.Event()
        self._callers = ThreadPoolExecutor(max_workers=_CALLERS, thread_name_prefix="engine")
        self._closing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-close")
        self._queue = DbosQueue(self._sql_engine, limits, executor)
        self._worker = ClaimWorker(self._queue, limits, self._stop, replicas)
        self._dbos: Any = None

    def __repr__(self) -> str:
        return f"<DbosEngine {self._executor} {self._limits}>"

    async def __aenter__(self) -> Self:
        _prepare_logger()
        try:
            with translated_errors():
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

    async def submit(self, *runs: QueuedRun) -> None:
        """Queues the runs, all of them or none. Submitting a run again changes nothing."""
        if not all(_RUN_ID.fullmatch(run.run_id) for run in runs):
            raise ValueError("a run's id has letters, digits, hyphens and underscores only")
        await self._call(lambda: self._queue.submit(runs))
        self._tell()

    async def resubmit(self, run: QueuedRun) -> None:
        """Queues a run that has not ended though the engine may think so; one that is queued or executes stays so."""
        await self._call(lambda: self._queue.resubmit(run))
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
                with translated_errors():
                    return await asyncio.get_running_loop().run_in_executor(self._callers, work)
        except TimeoutError as error:
            self._hang_up()
            raise StoreUnavailable from error

    def _launch(self) -> None:
        self._dbos = DBOS(config=self._config())

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
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


_OWN_ENDINGS = _OwnEndings()


def _prepare_logger() -> None:
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # without one, DBOS installs its own and keeps records from ours
    logger.setLevel(logging.WARNING)
    logger.addFilter(_OWN_ENDINGS)
