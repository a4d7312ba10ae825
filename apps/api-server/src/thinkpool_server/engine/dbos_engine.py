"""The engine on DBOS Transact: its queue, its global limit, its claims and its recovery, on our SQLite file.

A workflow holds no steps: it calls `execute`, which keeps the run's own record, and ends. Three things are not DBOS's
public interface and are contract-tested: the queue worker is woken instead of polling (`dbos._dbos.queue_thread`), it
serves our one queue only, and a workflow whose task is cancelled records no outcome, so that a run which is handed back
stays pending and is recovered at the next launch.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import dbos._dbos as dbos_internals
import dbos._queue as queue_internals
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import create_engine
from sqlalchemy.event import listen
from sqlalchemy.exc import SQLAlchemyError
from thinkpool_pipeline.values import RunId

from thinkpool_server.engine.protocol import EngineLimits, Execute
from thinkpool_server.engine.wake import WakeableStop
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.runs import Tenant

QUEUE = "runs"
APPLICATION_VERSION = "1"
"""Raised when a workflow's arguments change their meaning; never for a change of the loop, whose steps have names."""

EMBEDDED_EXECUTOR = "local"
"""The one executor of an embedded deployment: a restarted process resumes its own runs."""

_THREADS = 2  # without a cap DBOS starts hundreds in a burst; more than two only wait for the interpreter's lock
_POLL_SECONDS = 1.0
_SQLITE_WITH_SUBSECONDS = (3, 42, 0)
_QUEUE_WAIT_SECONDS = 0.05


class _OwnEndings(logging.Filter):
    """Keeps back what DBOS says of runs that are handed back: it is no accident."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(("Asyncio task cancelled", "Stopping queue manager"))


class DbosEngine:
    """Implements `Engine`. One per process, entered inside the running loop, so that workflows run on that loop."""

    def __init__(self, database: Path, execute: Execute, limits: EngineLimits) -> None:
        self._url = f"sqlite:///{database}"
        self._sql_engine = _sqlite_engine(self._url)
        self._execute = execute
        self._limits = limits
        self._stop = WakeableStop()
        self._closing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-close")

    def __repr__(self) -> str:
        return f"<DbosEngine {self._limits}>"

    async def __aenter__(self) -> Self:
        _prepare_logger()
        DBOS(config=self._config())

        @DBOS.workflow(name="thinkpool.run", max_recovery_attempts=None)
        async def workflow(run_id: str) -> None:
            await self._run(run_id)

        self._workflow = workflow
        dbos_internals.queue_thread = self._serve_queue  # pyright: ignore[reportPrivateImportUsage] -- contract-tested
        loop = asyncio.get_running_loop()
        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE,
            global_concurrency=self._limits.in_deployment,
            worker_concurrency=min(self._limits.in_replica, self._limits.in_deployment),
            partition_concurrency=min(self._limits.per_tenant, self._limits.in_deployment),
            polling_interval_sec=_POLL_SECONDS,
            on_conflict="always_update",
        )
        loop.call_soon(self._stop.wake)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_claiming()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._closing, lambda: DBOS.destroy(destroy_registry=True))
        self._sql_engine.dispose()
        self._closing.shutdown()
        dbos_internals.queue_thread = queue_internals.queue_thread  # pyright: ignore[reportPrivateImportUsage] -- contract-tested

    async def submit(self, run_id: RunId, *, tenant: Tenant, rank: int) -> None:
        """Queues the run; lower ranks start first. Submitting a run again changes nothing."""
        options = SetEnqueueOptions(priority=rank, queue_partition_key=tenant)
        with _translated_errors(), SetWorkflowID(run_id), options:
            await DBOS.enqueue_workflow_async(QUEUE, self._workflow, run_id)
        self._stop.wake()

    async def withdraw(self, run_id: RunId) -> None:
        """Takes a run that has not started out of the queue."""
        with _translated_errors():
            await DBOS.cancel_workflow_async(run_id)

    async def pending(self) -> set[RunId]:
        """Runs that are queued or executing."""
        with _translated_errors():
            workflows = await DBOS.list_workflows_async(
                status=["ENQUEUED", "PENDING"], load_input=False, load_output=False, queue_name=QUEUE
            )
        return {RunId(workflow.workflow_id) for workflow in workflows}

    async def forget(self, run_ids: Sequence[RunId]) -> None:
        """Deletes what the engine keeps of runs that have ended."""
        with _translated_errors():
            await DBOS.delete_workflows_async(list(run_ids))
        self._stop.wake()

    def stop_claiming(self) -> None:
        """Starts no more runs."""
        self._stop.set()

    async def _run(self, run_id: str) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        task.add_done_callback(lambda _: self._stop.wake())  # by then the outcome is recorded, and the slot is free
        if not await self._execute(RunId(run_id)):
            raise asyncio.CancelledError

    def _serve_queue(self, stop: threading.Event, dbos: Any) -> None:
        """Stands in for DBOS's queue manager: one worker, for our queue, woken by us."""
        while not self._stop.is_set() and not stop.is_set():
            queue = dbos._sys_db.get_queue(QUEUE)  # noqa: SLF001 -- contract-tested
            if queue is not None:
                queue_internals.queue_worker_thread(cast("threading.Event", self._stop), dbos, queue)
                return
            stop.wait(_QUEUE_WAIT_SECONDS)

    def _config(self) -> DBOSConfig:
        return {
            "name": "thinkpool",
            "system_database_url": self._url,
            "system_database_engine": self._sql_engine,
            "application_version": APPLICATION_VERSION,
            "executor_id": EMBEDDED_EXECUTOR,
            "serializer": DBOSPortableJSONSerializer(),
            "max_executor_threads": _THREADS,
            "notification_listener_polling_interval_sec": 0.1,
            "enable_otlp": False,
            "log_level": "WARNING",
        }


_OWN_ENDINGS = _OwnEndings()


@contextmanager
def _translated_errors() -> Generator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable from error


def _prepare_logger() -> None:
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # without one, DBOS installs its own and keeps records from ours
    logger.addFilter(_OWN_ENDINGS)


def _sqlite_engine(url: str) -> SqlEngine:
    engine = create_engine(url)

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
