"""The event log in PostgreSQL, for any number of replicas: one writing connection, one reading connection a thread.

A database that goes away is waited for: what was to be written is written when it is back, once. Each transaction
leaves its number in the replica's row, so that a commit whose answer was lost is found done or not done, never done
twice. A replica whose row is gone was taken for dead, and writes nothing any more.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, LiteralString, TypeVar, cast

import psycopg
from psycopg import errors
from thinkpool_pipeline.codec import to_json
from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.errors import ReplicaLost, StoreUnavailable
from thinkpool_server.event_log import postgres_statements as sql
from thinkpool_server.event_log.notices import (
    CHANNEL,
    Accepted,
    Appended,
    CancelAsked,
    Deleted,
    Notice,
    Started,
    pack,
)
from thinkpool_server.event_log.rows import from_row, to_delivery, to_row, to_unfinished, with_facts, with_files
from thinkpool_server.event_log.store import (
    MOST_ARRIVAL,
    UNFINISHED,
    Append,
    Creation,
    Crowd,
    Delivery,
    DeliveryClaim,
    Operation,
    Refuse,
    StoredRun,
    UnfinishedRun,
)
from thinkpool_server.postgres.connection import Connection
from thinkpool_server.postgres.cuttable_connections import CuttableConnections
from thinkpool_server.runs import Tenant, file_facts

T = TypeVar("T")

QUEUE_LOCK: Final = 7_463_205_114
"""Held by the transactions that accept runs: so their bound is exact, and the order of arrival that of the commits."""

READ_SECONDS: Final = 6.0
"""Somewhat longer than anybody waits for a read: the database itself then ends one that nobody waits for any more."""

_RETRY_SECONDS = 0.05
_RETRY_MOST_SECONDS = 0.5
_CONFLICTS = (errors.DeadlockDetected, errors.SerializationFailure)


class PostgresStore:
    """Implements `Store` and `WriteStore` for one replica, whose row in `replicas` must be there."""

    def __init__(
        self,
        url: str,
        executor: str,
        *,
        clock: Callable[[], float] = time.time,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """`clock` is the one by which all replicas judge, in seconds since the epoch."""
        self._executor = executor
        self._clock = clock
        self._writers = CuttableConnections(url, purpose="event log")
        self._readers = CuttableConnections(url, purpose="reader", statement_seconds=read_seconds)
        self._writer: Connection | None = None
        self._number = 0
        self._notices: list[Notice] = []
        self._crowd: Crowd | None = None
        self._is_lost = False
        self._given_up = threading.Event()
        self._local = threading.local()
        self.is_writable = True
        """Whether the newest write went through, and none waits for the database."""

    def __repr__(self) -> str:
        return f"<PostgresStore of {self._executor}>"

    def now(self) -> float:
        """The one clock by which all replicas judge, in seconds since the epoch."""
        return self._clock()

    def stop_waiting(self) -> None:
        """Makes a `write` that waits for a lost database give up, and every later one too. Callable from anywhere."""
        self._given_up.set()

    def hang_up_writer(self) -> None:
        """Ends a `write` that waits for the database's answer: it is tried again. Callable from anywhere."""
        self._writers.hang_up()

    def hang_up_readers(self) -> None:
        """Ends every read that waits for the database's answer. Callable from anywhere."""
        self._readers.hang_up()

    def close(self) -> None:
        """Closes every connection; nobody reads or writes any more."""
        self._writers.close()
        self._readers.close()

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, operations: Sequence[Operation]) -> list[Any]:
        """The operations' results, in order; all of them committed together, or none.

        Waits for a database that is away.

        Raises:
            ReplicaLost: the others took this replica for dead.
            StoreUnavailable: the database refuses, as on a full disk; or it is away, and nobody waits any more.

        """
        self._number += 1
        results: list[Any] = []
        delay_seconds = _RETRY_SECONDS
        while not self._is_lost:
            try:
                connection = self._open_writer()
                with connection.transaction():
                    if not self._begin(connection):
                        break
                    results = self._perform(operations)
                    for payload in pack(self._executor, self._notices):
                        connection.execute(sql.NOTIFY, (CHANNEL, payload))
            except _CONFLICTS:
                continue
            except psycopg.Error as error:
                self.is_writable = False
                if not self._is_away() or self._given_up.wait(delay_seconds):
                    raise StoreUnavailable from error
                delay_seconds = min(2 * delay_seconds, _RETRY_MOST_SECONDS)
            else:
                break
        if self._is_lost:
            raise ReplicaLost
        self.is_writable = True
        return results

    def insert_run(self, run: StoredRun, refuse: Refuse) -> Creation:
        """Stores a run, unless there is one of this id or `refuse` says no; its arrival number is given here."""
        if self._one("SELECT 1 FROM thinkpool.runs WHERE run_id = %s", run.record.run_id) is not None:
            return Creation(arrival=None)
        refusal = refuse(self._current_crowd())
        if refusal is not None:
            return Creation(arrival=None, refusal=refusal)
        row = to_row(run)
        created = self._one(sql.INSERT_RUN, *row)
        if created is None:
            return Creation(arrival=None)
        record = run.record
        if files := record.question.files:
            self._execute(sql.INSERT_FILES, record.run_id, to_json(file_facts(files)), to_json(files))
        for webhook in run.webhooks:
            self._execute(sql.INSERT_WEBHOOK, record.run_id, webhook.target, webhook.url)
        self._crowd = _joined(self._current_crowd(), record.tenant)
        self._notices.append(Accepted(record.run_id, record.tenant, record.priority, created[0], at=record.created_at))
        return Creation(arrival=created[0])

    def claim_deliveries(self, claim: DeliveryClaim) -> tuple[Delivery, ...]:
        """Webhooks of runs that have ended and of deliveries that are due, those that wait longest first.

        Those that another replica is claiming at the moment are passed over.
        """
        rows = self._all(sql.CLAIM_DELIVERIES, claim.now, list(claim.leave_out), claim.most, claim.until)
        return tuple(to_delivery(row) for row in rows)

    def settle_delivery(self, delivery: Delivery, next_at: float | None) -> bool:
        """Makes it due again at this time, or removes it; False, with nothing written, when the claim has passed."""
        claimed = (delivery.run_id, delivery.webhook.target, delivery.attempt)
        if next_at is None:
            return bool(self._execute(sql.END_DELIVERY, *claimed).rowcount)
        return bool(self._execute(sql.POSTPONE_DELIVERY, next_at, *claimed).rowcount)

    def begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """As `find_begun`; from now on to the end of the transaction no replica stores another run."""
        self._current_crowd()
        row = self._one(sql.BEGUN, fingerprint, ended_after)
        return None if row is None else RunId(row[0])

    def claim(self, run_id: RunId) -> StoredRun | None:
        """Raises the run's epoch; None when the run has ended or never was. Its question has its files."""
        row = self._one(sql.CLAIM_RUN, self.now(), run_id)
        if row is None:
            return None
        self._notices.append(Started(run_id))
        run = from_row(row)
        files = self._one("SELECT facts, files FROM thinkpool.run_files WHERE run_id = %s", run_id)
        return run if files is None else with_files(with_facts(run, files[0]), files[1])

    def append(self, batch: Append) -> tuple[StoredEvent, ...] | None:
        """The events with their numbers; None, with nothing written, when the epoch is old or the run has ended."""
        return self._append([batch])[0]

    def request_cancel(self, run_id: RunId, by: str) -> None:
        """Remembers that the run is to be cancelled; the first asker counts."""
        self._execute(sql.REQUEST_CANCEL, by, run_id)
        self._notices.append(CancelAsked(run_id, by))

    def delete(self, run_id: RunId) -> None:
        """Deletes the run with all of its record."""
        for statement in sql.DELETE_RUN:
            self._execute(statement, run_id)
        self._notices.append(Deleted(run_id))

    def tell(self, notice: Notice) -> None:
        """Tells the other replicas."""
        self._notices.append(notice)

    # -- how ---------------------------------------------------------------------------------------------------------

    def _begin(self, connection: Connection) -> bool:
        """Marks the transaction as this write's; False when it was committed before, or the replica is lost."""
        self._notices, self._crowd = [], None
        if connection.execute(sql.MARK_COMMIT, (self._number, self._executor, self._number)).rowcount:
            return True
        row = connection.execute("SELECT 1 FROM thinkpool.replicas WHERE executor = %s", (self._executor,)).fetchone()
        self._is_lost = row is None
        return False

    def _perform(self, operations: Sequence[Operation]) -> list[Any]:
        """Their results. Appends that follow one another, each to another run, are one statement."""
        results: list[Any] = []
        batches: dict[RunId, Append] = {}
        for operation in operations:
            if not isinstance(operation, Append):
                results += [*self._append([*batches.values()]), operation(self)]
                batches = {}
                continue
            if operation.run_id in batches:
                results += self._append([*batches.values()])
                batches = {}
            batches[operation.run_id] = operation
        return results + self._append([*batches.values()])

    def _append(self, batches: Sequence[Append]) -> list[tuple[StoredEvent, ...] | None]:
        if not batches:
            return []
        now = self.now()
        events = [(batch.run_id, place, *event) for batch in batches for place, event in enumerate(batch.events, 1)]
        steps = [(batch.run_id, *step) for batch in batches for step in batch.steps]
        values = {
            "now": now,
            "run_ids": [batch.run_id for batch in batches],
            "epochs": [batch.epoch for batch in batches],
            "counts": [len(batch.events) for batch in batches],
            "end_statuses": [batch.end_status for batch in batches],
            **_columns(("event_runs", "places", "types", "data"), events),
            **_columns(("step_runs", "names", "values"), steps),
        }
        rows = cast("Connection", self._writer).execute(sql.APPEND, values).fetchall()
        taken: dict[RunId, int] = dict(cast("list[tuple[RunId, int]]", rows))
        return [self._appended(batch, taken.get(batch.run_id), now) for batch in batches]

    def _appended(self, batch: Append, after: int | None, now: float) -> tuple[StoredEvent, ...] | None:
        if after is None:
            return None
        if batch.events:
            last = after + len(batch.events)
            self._notices.append(Appended(batch.run_id, after, last, batch.end_status is not None))
        return tuple(
            StoredEvent(seq=Seq(after + place), type=kind, data=data, at=now)
            for place, (kind, data) in enumerate(batch.events, start=1)
        )

    def _open_writer(self) -> Connection:
        if self._writer is None:
            self._writer = self._writers.open()
        return self._writer

    def _is_away(self) -> bool:
        """Whether it is the connection that failed; then it is given up."""
        if self._writer is None:
            return True
        if not self._writer.closed:
            return False
        self._writer.close()
        self._writer = None
        return True

    def _current_crowd(self) -> Crowd:
        if self._crowd is None:
            self._execute("SELECT pg_advisory_xact_lock(%s)", QUEUE_LOCK)
            counts = self._all(sql.CROWD)
            self._crowd = Crowd(
                executing=sum(executing for _, executing, _ in counts),
                waiting={Tenant(tenant): waiting for tenant, _, waiting in counts},
            )
        return self._crowd

    def _execute(self, statement: LiteralString, *values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        return cast("Connection", self._writer).execute(statement, values)

    def _one(self, statement: LiteralString, *values: Any) -> tuple[Any, ...] | None:
        return self._execute(statement, *values).fetchone()

    def _all(self, statement: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        return self._execute(statement, *values).fetchall()

    # -- reading -----------------------------------------------------------------------------------------------------

    def past(self, ended_before: float, most: int) -> list[RunId]:
        """Runs that ended before then, at most so many, those that ended first."""
        return [run_id for (run_id,) in self._rows(sql.PAST, (ended_before, most))]

    def expire(self, run_ids: Sequence[RunId], remembered_since: float) -> list[RunId]:
        """Deletes these runs, of those that have ended, but those that another replica deletes; which were deleted."""

        def delete(connection: Connection) -> list[RunId]:
            with connection.transaction(), connection.cursor() as cursor:
                rows = cursor.execute(sql.EXPIRED, (list(run_ids),)).fetchall()
                found = [RunId(run_id) for run_id, _ in rows]
                for statement in sql.DELETE_RUN:
                    cursor.executemany(statement, [(run_id,) for run_id in found])
                connection.execute(sql.REMEMBER_EXPIRED, (self.now(), found, [tenant for _, tenant in rows]))
                connection.execute("DELETE FROM thinkpool.expired_runs WHERE at < %s", (remembered_since,))
                return found

        return self._query(delete)

    def get(self, run_id: RunId) -> StoredRun | None:
        """The run, or None."""
        runs = self._runs(sql.RUNS + " WHERE run_id = %s", (run_id,))
        return runs[0] if runs else None

    def next_delivery_at(self) -> float | None:
        """When the next delivery of an ended run is due, in seconds since the epoch; None when there is none."""
        rows = self._rows(sql.NEXT_DELIVERY_AT, ())
        return rows[0][0] if rows else None

    def find_begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """The newest run of such a submission that works or waits, or that ended since then."""
        rows = self._rows(sql.BEGUN, (fingerprint, ended_after))
        return RunId(rows[0][0]) if rows else None

    def is_expired(self, run_id: RunId, tenant: Tenant) -> bool:
        """Whether the tenant had such a run, past its retention."""
        statement = "SELECT 1 FROM thinkpool.expired_runs WHERE run_id = %s AND tenant = %s"
        return bool(self._rows(statement, (run_id, tenant)))

    def unfinished(self) -> list[UnfinishedRun]:
        """Every run that has not ended, in order of arrival."""
        return [to_unfinished(row) for row in self._rows(sql.UNFINISHED, ())]

    def last_arrival(self) -> int:
        """A place in the order of acceptance that no run is behind; 0 before the first run."""
        return self._rows(sql.LAST_ARRIVAL, ())[0][0]

    def list_runs(self, tenant: Tenant, *, before: int | None, status: str | None, most: int) -> list[StoredRun]:
        """The tenant's runs that arrived before `before`, newest first."""
        values = {
            "tenant": tenant,
            "before": MOST_ARRIVAL if before is None else before,
            "status": status,
            "most": most,
        }
        if status is None:
            return self._runs(sql.LIST_RUNS, values)
        return self._runs(sql.LIST_UNFINISHED if status in UNFINISHED else sql.LIST_ENDED, values)

    def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        """Events after this place, in order; all of them when `most` is negative."""
        rows = self._rows(sql.READ, (run_id, after, None if most < 0 else most))
        return tuple(StoredEvent(seq=Seq(seq), type=kind, data=data, at=at) for seq, kind, data, at in rows)

    def read_behind(self, places: Mapping[RunId, int]) -> dict[RunId, tuple[StoredEvent, ...]]:
        """The events of several runs, each after its place, in order."""
        rows = self._rows(sql.READ_BEHIND, (list(places), list(places.values())))
        return {
            run_id: tuple(StoredEvent(seq=Seq(seq), type=kind, data=data, at=at) for _, seq, kind, data, at in group)
            for run_id, group in groupby(rows, key=itemgetter(0))
        }

    def steps(self, run_id: RunId) -> dict[str, bytes]:
        """The run's recorded steps by name."""
        rows = self._rows("SELECT name, value FROM thinkpool.run_steps WHERE run_id = %s", (run_id,))
        return dict(cast("list[tuple[str, bytes]]", rows))

    def _runs(self, statement: LiteralString, values: Sequence[Any] | Mapping[str, Any]) -> list[StoredRun]:
        return [with_facts(from_row(columns), facts) for facts, *columns in self._rows(statement, values)]

    def _rows(self, statement: LiteralString, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._query(lambda connection: connection.execute(statement, values).fetchall())

    def _query(self, query: Callable[[Connection], T]) -> T:
        """The query's result, from this thread's connection; from a new one when the old one has been lost."""
        connection: Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is not None:
                try:
                    return query(connection)
                except psycopg.OperationalError:
                    if not connection.closed or self._given_up.is_set():
                        raise
                    connection.close()
            self._local.connection = None
            self._local.connection = self._readers.open()
            return query(self._local.connection)
        except psycopg.Error as error:
            raise StoreUnavailable from error


def _joined(crowd: Crowd, tenant: Tenant) -> Crowd:
    return replace(crowd, waiting={**crowd.waiting, tenant: crowd.waiting.get(tenant, 0) + 1})


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """The rows as one list for each name."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
