"""The event log's SQLite file: one writing connection, one reading connection a thread."""

import sqlite3
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from thinkpool_pipeline.codec import to_json
from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log import sqlite_schema as schema
from thinkpool_server.event_log.notices import Notice
from thinkpool_server.event_log.rows import from_row, to_delivery, to_row, to_unfinished, with_facts, with_files
from thinkpool_server.event_log.store import (
    MOST_ARRIVAL,
    UNFINISHED,
    Append,
    Creation,
    Delivery,
    DeliveryClaim,
    Operation,
    Refuse,
    StoredRun,
    UnfinishedRun,
)
from thinkpool_server.runs import Tenant, file_facts

_BUSY_SECONDS = 30.0


class SqliteStore:
    """Implements `Store` and `WriteStore` on one database in WAL mode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = self._connect()
        self._writer.executescript(schema.TABLES)
        self._local = threading.local()
        self._others: list[sqlite3.Connection] = []
        self.is_writable = True
        """Whether the newest commit went through."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _own(self) -> sqlite3.Connection:
        """The connection of this thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._others.append(connection)
        return connection

    def stop_waiting(self) -> None:
        """Does nothing: a file is there, or is not."""

    def now(self) -> float:
        """The clock of this machine, in seconds since the epoch."""
        return time.time()

    hang_up_writer = hang_up_readers = stop_waiting

    def close(self) -> None:
        """Closes every connection."""
        for connection in (*self._others, self._writer):
            connection.close()

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, operations: Sequence[Operation]) -> list[Any]:
        """The operations' results, in order; all of them committed together, or none."""
        try:
            with _transaction(self._writer):
                results = [operation(self) for operation in operations]
        except sqlite3.Error as error:
            self.is_writable = False
            raise StoreUnavailable from error
        self.is_writable = True
        return results

    def insert_run(self, run: StoredRun, refuse: Refuse) -> Creation:
        """Stores a run, unless there is one of this id; whether there is room was settled before."""
        del refuse
        try:
            self._writer.execute(schema.INSERT_RUN, to_row(run))
        except sqlite3.IntegrityError:
            return Creation(arrival=None)
        if files := run.record.question.files:
            self._writer.execute(schema.INSERT_FILES, (run.record.run_id, to_json(file_facts(files)), to_json(files)))
        for webhook in run.webhooks:
            self._writer.execute(schema.INSERT_WEBHOOK, (run.record.run_id, webhook.target, webhook.url))
        return Creation(arrival=run.arrival)

    def claim_deliveries(self, claim: DeliveryClaim) -> tuple[Delivery, ...]:
        """Webhooks of runs that have ended and of deliveries that are due, those that wait longest first."""
        left_out = orjson.dumps(claim.leave_out).decode()
        rows = self._writer.execute(schema.DUE_DELIVERIES, (claim.now, left_out, claim.most)).fetchall()
        self._writer.executemany(
            schema.CLAIM_DELIVERY, ((attempt, claim.until, run_id, target) for run_id, _, target, _, attempt in rows)
        )
        return tuple(to_delivery(row) for row in rows)

    def settle_delivery(self, delivery: Delivery, next_at: float | None) -> bool:
        """Makes it due again at this time, or removes it; False, with nothing written, when the claim has passed."""
        claimed = (delivery.run_id, delivery.webhook.target, delivery.attempt)
        if next_at is None:
            return bool(self._writer.execute(schema.END_DELIVERY, claimed).rowcount)
        return bool(self._writer.execute(schema.POSTPONE_DELIVERY, (next_at, *claimed)).rowcount)

    def begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """As `find_begun`, among all that is written by now."""
        return _begun(self._writer, fingerprint, ended_after)

    def claim(self, run_id: RunId) -> StoredRun | None:
        """Raises the run's epoch; None when the run has ended or never was. Its question has its files."""
        row = self._writer.execute(schema.CLAIM_RUN, (time.time(), run_id)).fetchone()
        if row is None:
            return None
        (run,) = _with_facts(self._writer, [from_row(row)])
        if not run.record.files:
            return run
        (files,) = self._writer.execute("SELECT files FROM run_files WHERE run_id = ?", (run_id,)).fetchone()
        return with_files(run, files)

    def append(self, batch: Append) -> tuple[StoredEvent, ...] | None:
        """The events with their numbers; None, with nothing written, when the epoch is old or the run has ended."""
        row = self._writer.execute(schema.TAKE_NUMBERS, (len(batch.events), batch.run_id, batch.epoch)).fetchone()
        if row is None:
            return None
        now = time.time()
        first = row[0] - len(batch.events) + 1
        stored = tuple(
            StoredEvent(seq=Seq(first + index), type=event_type, data=data, at=now)
            for index, (event_type, data) in enumerate(batch.events)
        )
        self._writer.executemany(
            schema.INSERT_EVENT,
            ((batch.run_id, event.seq, batch.epoch, event.type, event.data, event.at) for event in stored),
        )
        if batch.steps:
            self._writer.executemany(
                schema.INSERT_STEP, ((batch.run_id, name, batch.epoch, value) for name, value in batch.steps)
            )
        if batch.end_status is not None:
            self._writer.execute(schema.END_RUN, (batch.end_status, now, batch.run_id))
        return stored

    def request_cancel(self, run_id: RunId, by: str) -> None:
        """Remembers that the run is to be cancelled; the first asker counts."""
        self._writer.execute(schema.REQUEST_CANCEL, (by, run_id))

    def delete(self, run_id: RunId) -> None:
        """Deletes the run with all of its record."""
        _delete(self._writer, run_id)

    def tell(self, notice: Notice) -> None:
        """Tells nobody: there are no other replicas."""

    def past(self, ended_before: float, most: int) -> list[RunId]:
        """Runs that ended before then, at most so many, those that ended first."""
        with self._reading() as connection:
            return [run_id for (run_id,) in connection.execute(schema.PAST, (ended_before, most))]

    def expire(self, run_ids: Sequence[RunId], remembered_since: float) -> list[RunId]:
        """Deletes these runs, of those that have ended; which were deleted."""
        with self._reading() as connection, _transaction(connection):
            rows = connection.execute(schema.EXPIRED, (orjson.dumps(list(run_ids)).decode(),)).fetchall()
            for run_id, tenant in rows:
                _delete(connection, run_id)
                connection.execute("INSERT OR IGNORE INTO expired_runs VALUES (?, ?, ?)", (run_id, tenant, time.time()))
            connection.execute("DELETE FROM expired_runs WHERE at < ?", (remembered_since,))
            return [RunId(run_id) for run_id, _ in rows]

    # -- reading -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        try:
            yield self._own()
        except sqlite3.Error as error:
            raise StoreUnavailable from error

    def get(self, run_id: RunId) -> StoredRun | None:
        """The run, or None."""
        with self._reading() as connection:
            row = connection.execute(f"SELECT {schema.RUN_COLUMNS} FROM runs WHERE run_id = ?", (run_id,)).fetchone()  # noqa: S608 -- constants only
            return None if row is None else _with_facts(connection, [from_row(row)])[0]

    def next_delivery_at(self) -> float | None:
        """When the next delivery of an ended run is due, in seconds since the epoch; None when there is none."""
        with self._reading() as connection:
            row = connection.execute(schema.NEXT_DELIVERY_AT).fetchone()
            return None if row is None else row[0]

    def find_begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """The newest run of such a submission that works or waits, or that ended since then."""
        with self._reading() as connection:
            return _begun(connection, fingerprint, ended_after)

    def is_expired(self, run_id: RunId, tenant: Tenant) -> bool:
        """Whether the tenant had such a run, past its retention."""
        statement = "SELECT 1 FROM expired_runs WHERE run_id = ? AND tenant = ?"
        with self._reading() as connection:
            return connection.execute(statement, (run_id, tenant)).fetchone() is not None

    def unfinished(self) -> list[UnfinishedRun]:
        """Every run that has not ended, in order of arrival."""
        with self._reading() as connection:
            return [to_unfinished(row) for row in connection.execute(schema.UNFINISHED)]

    def last_arrival(self) -> int:
        """A place in the order of acceptance that no run is behind; 0 before the first run."""
        with self._reading() as connection:
            return connection.execute(schema.LAST_ARRIVAL).fetchone()[0]

    def list_runs(self, tenant: Tenant, *, before: int | None, status: str | None, most: int) -> list[StoredRun]:
        """The tenant's runs that arrived before `before`, newest first."""
        newest = MOST_ARRIVAL if before is None else before
        statement, values = schema.LIST_RUNS, (tenant, newest, most)
        if status is not None:
            statement = schema.LIST_UNFINISHED if status in UNFINISHED else schema.LIST_ENDED
            values = (tenant, newest, status, most)
        with self._reading() as connection:
            rows = connection.execute(statement, values)
            return _with_facts(connection, [from_row(row) for row in rows])

    def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        """Events after this place, in order; all of them when `most` is negative."""
        statement = "SELECT seq, type, data, at FROM run_events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        with self._reading() as connection:
            rows = connection.execute(statement, (run_id, after, most))
            return tuple(StoredEvent(seq=Seq(seq), type=kind, data=data, at=at) for seq, kind, data, at in rows)

    def read_behind(self, places: Mapping[RunId, int]) -> dict[RunId, tuple[StoredEvent, ...]]:
        """The events of several runs, each after its place, in order."""
        return {run_id: self.read(run_id, after=after, most=-1) for run_id, after in places.items()}

    def steps(self, run_id: RunId) -> dict[str, bytes]:
        """The run's recorded steps by name."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT name, value FROM run_steps WHERE run_id = ?", (run_id,)))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Waits for other writers, at most 30 s."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _delete(connection: sqlite3.Connection, run_id: RunId) -> None:
    for table in ("run_events", "run_steps", "run_files", "webhook_deliveries", "runs"):
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))  # noqa: S608 -- constants only


def _begun(connection: sqlite3.Connection, fingerprint: str, ended_after: float) -> RunId | None:
    row = connection.execute(schema.BEGUN, (fingerprint, ended_after)).fetchone()
    return None if row is None else RunId(row[0])


def _with_facts(connection: sqlite3.Connection, runs: list[StoredRun]) -> list[StoredRun]:
    """The runs, with what is told of their files."""
    statement = "SELECT run_id, facts FROM run_files WHERE run_id IN (SELECT value FROM json_each(?))"
    known = dict(connection.execute(statement, (orjson.dumps([run.record.run_id for run in runs]).decode(),)))
    return [with_facts(run, known.get(run.record.run_id)) for run in runs]
