"""The event log's SQLite file: one writing connection, one reading connection a thread; plain, blocking functions.

It knows no event loop: `group_commit` calls the writing side from one thread of its own, the log's readers call the
reading side from theirs.
"""

import sqlite3
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import InputFile, Question, RunId, Seq

from thinkpool_server.event_log import schema
from thinkpool_server.runs import FileFacts, RunRecord, Tenant, file_facts

_BUSY_SECONDS = 30.0
_UNFINISHED = ("queued", "running")
_FACTS = tuple[FileFacts, ...]
_FILES = tuple[InputFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run's row: the record, and what only the server needs of it."""

    record: RunRecord
    arrival: int
    """The run's place in the order of acceptance."""
    fingerprint: str
    """A digest of what was submitted, to tell a retry from another request under the same key."""
    cancelled_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events and steps of one run, to be written together."""

    run_id: RunId
    epoch: int
    events: tuple[tuple[str, bytes], ...]
    """Type and encoded data, in order."""
    steps: tuple[tuple[str, bytes], ...] = ()
    """Name and encoded value."""
    end_status: str | None = None
    """The run's final status when the last event is its end; None otherwise."""


class Store:
    """One SQLite database in WAL mode. Safe to read from many threads; `write*` from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = self._connect()
        self._writer.executescript(schema.TABLES)
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._readers.append(connection)
        return connection

    def close(self) -> None:
        """Closes every connection."""
        for connection in (*self._readers, self._writer):
            connection.close()

    # -- writing: each function runs inside `transaction` ------------------------------------------------------------

    def begin(self) -> None:
        """Begins a transaction; waits for other writers, at most 30 s."""
        self._writer.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commits it."""
        self._writer.execute("COMMIT")

    def rollback(self) -> None:
        """Gives it up."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def insert_run(self, run: StoredRun) -> bool:
        """False when there is a run of this id already."""
        try:
            self._writer.execute(schema.INSERT_RUN, _to_row(run))
        except sqlite3.IntegrityError:
            return False
        if files := run.record.question.files:
            self._writer.execute(schema.INSERT_FILES, (run.record.run_id, to_json(file_facts(files)), to_json(files)))
        return True

    def claim(self, run_id: RunId) -> StoredRun | None:
        """Raises the run's epoch; None when the run has ended or never was. Its question has its files."""
        row = self._writer.execute(schema.CLAIM_RUN, (time.time(), run_id)).fetchone()
        if row is None:
            return None
        (run,) = self._with_facts(self._writer, [_from_row(row)])
        return self._with_files(run) if run.record.files else run

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
        for table in ("run_events", "run_steps", "run_files", "runs"):
            self._writer.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))  # noqa: S608 -- constants only

    def expire(self, ended_before: float, most: int) -> list[RunId]:
        """Deletes runs that ended before then, at most so many; which there were.

        Their ids are remembered for as long again, so that a late reader learns that its run is past.
        """
        rows = self._writer.execute(
            "SELECT run_id, tenant FROM runs WHERE finished_at < ? ORDER BY finished_at LIMIT ?", (ended_before, most)
        ).fetchall()
        for run_id, tenant in rows:
            self.delete(run_id)
            self._writer.execute("INSERT OR IGNORE INTO expired_runs VALUES (?, ?, ?)", (run_id, tenant, time.time()))
        self._writer.execute("DELETE FROM expired_runs WHERE at < ?", (ended_before,))
        return [run_id for run_id, _ in rows]

    # -- reading -----------------------------------------------------------------------------------------------------

    def get(self, run_id: RunId) -> StoredRun | None:
        """The run, or None."""
        row = self._reader().execute(f"SELECT {schema.RUN_COLUMNS} FROM runs WHERE run_id = ?", (run_id,)).fetchone()  # noqa: S608 -- constants only
        return None if row is None else self._with_facts(self._reader(), [_from_row(row)])[0]

    def is_expired(self, run_id: RunId, tenant: Tenant) -> bool:
        """Whether the tenant had such a run, past its retention."""
        statement = "SELECT 1 FROM expired_runs WHERE run_id = ? AND tenant = ?"
        return self._reader().execute(statement, (run_id, tenant)).fetchone() is not None

    def unfinished(self) -> list[StoredRun]:
        """Every run that has not ended, in order of arrival."""
        statement = f"SELECT {schema.RUN_COLUMNS} FROM runs WHERE status IN (?, ?) ORDER BY arrival"  # noqa: S608 -- constants only
        rows = self._reader().execute(statement, _UNFINISHED)
        return self._with_facts(self._reader(), [_from_row(row) for row in rows])

    def last_arrival(self) -> int:
        """The newest run's place in the order of acceptance; 0 when there is none."""
        return self._reader().execute("SELECT coalesce(max(arrival), 0) FROM runs").fetchone()[0]

    def list_runs(self, tenant: Tenant, *, before: int | None, status: str | None, most: int) -> list[StoredRun]:
        """The tenant's runs that arrived before `before`, newest first."""
        statement = f"""
            SELECT {schema.RUN_COLUMNS} FROM runs
            WHERE tenant = ? AND (? IS NULL OR arrival < ?) AND (? IS NULL OR status = ?) ORDER BY arrival DESC LIMIT ?
        """  # noqa: S608 -- constants only
        rows = self._reader().execute(statement, (tenant, before, before, status, status, most))
        return self._with_facts(self._reader(), [_from_row(row) for row in rows])

    def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        """Events after this place, in order."""
        rows = self._reader().execute(
            "SELECT seq, type, data, at FROM run_events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            (run_id, after, most),
        )
        return tuple(StoredEvent(seq=Seq(seq), type=kind, data=data, at=at) for seq, kind, data, at in rows)

    def steps(self, run_id: RunId) -> dict[str, bytes]:
        """The run's recorded steps by name."""
        return dict(self._reader().execute("SELECT name, value FROM run_steps WHERE run_id = ?", (run_id,)))

    # -- files -------------------------------------------------------------------------------------------------------

    def _with_facts(self, connection: sqlite3.Connection, runs: list[StoredRun]) -> list[StoredRun]:
        """The runs, with what is told of their files."""
        statement = "SELECT run_id, facts FROM run_files WHERE run_id IN (SELECT value FROM json_each(?))"
        known = dict(connection.execute(statement, (orjson.dumps([run.record.run_id for run in runs]).decode(),)))
        return [
            replace(run, record=replace(run.record, files=from_json(_FACTS, known[run.record.run_id])))
            if run.record.run_id in known
            else run
            for run in runs
        ]

    def _with_files(self, run: StoredRun) -> StoredRun:
        """The run, its question with its files."""
        statement = "SELECT files FROM run_files WHERE run_id = ?"
        (files,) = self._writer.execute(statement, (run.record.run_id,)).fetchone()
        question = replace(run.record.question, files=from_json(_FILES, files))
        return replace(run, record=replace(run.record, question=question))


def _to_row(run: StoredRun) -> tuple[str | int | float | bytes | None, ...]:
    record = run.record
    return (
        record.run_id,
        record.tenant,
        record.status,
        record.origin,
        record.priority,
        run.arrival,
        record.is_foreground,
        run.fingerprint,
        to_json(replace(record.question, files=())),
        orjson.dumps(record.metadata),
        record.created_at,
        record.started_at,
        record.finished_at,
        record.epoch,
        record.last_seq,
        run.cancelled_by,
    )


def _from_row(row: tuple[object, ...]) -> StoredRun:
    fields = dict(zip(schema.RUN_COLUMNS.replace(" ", "").split(","), row, strict=True))
    arrival, fingerprint, cancelled_by = fields.pop("arrival"), fields.pop("fingerprint"), fields.pop("cancelled_by")
    fields["question"] = from_json(Question, fields["question"])  # pyright: ignore[reportArgumentType] -- a BLOB
    fields["metadata"] = orjson.loads(fields["metadata"])  # pyright: ignore[reportArgumentType] -- a BLOB
    fields["is_foreground"] = bool(fields["is_foreground"])
    record = RunRecord(**fields, is_cancel_requested=cancelled_by is not None)  # pyright: ignore[reportArgumentType] -- the columns' types are the fields'
    return StoredRun(record=record, arrival=arrival, fingerprint=fingerprint, cancelled_by=cancelled_by)  # pyright: ignore[reportArgumentType] -- the columns' types are the fields'
