"""How much the databases read for what is asked of them again and again, where many runs have ended long ago."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import Final

import pytest
from joined_store import joined_store
from test_event_log import stored_run
from thinkpool_pipeline.values import RunId
from thinkpool_server.event_log import PostgresStore, SqliteStore
from thinkpool_server.event_log.rows import COLUMNS, to_row
from thinkpool_server.event_log.store import DeliveryClaim, Store, Webhook
from thinkpool_server.postgres import connect
from thinkpool_server.runs import Tenant
from thinkpool_server.testing.postgres_server import PostgresServer

TENANT = Tenant("default")
ENDED_RUNS = 100_000
RARE: Final = {60_000: "failed", 70_000: "cancelled"}
TIMES = 12
"""Often enough for a statement to be prepared, and planned for whatever its values are."""

_NUMBERS: Final = count()

QUESTION: Final = to_row(stored_run())[COLUMNS.index("question")]
FILL_RUNS: Final = """
    INSERT INTO thinkpool.runs (run_id, tenant, status, origin, priority, arrival, is_foreground, fingerprint,
        question, metadata, created_at, finished_at)
    SELECT 'run_' || number, 'default',
        CASE number WHEN 60000 THEN 'failed' WHEN 70000 THEN 'cancelled' ELSE 'completed' END,
        'research', 5, nextval('thinkpool.arrivals'), false, '',
        %s, '{}', number, number
    FROM generate_series(1, 100000) AS number
"""
FILL: Final = (
    """
    INSERT INTO thinkpool.run_events SELECT 'run_' || run, seq, 1, 'report.delta', repeat('x', 50)::bytea, 0
    FROM generate_series(1, 1000) AS run, generate_series(1, 50) AS seq
    """,
    """
    INSERT INTO thinkpool.run_steps SELECT 'run_' || run, 'turn/' || step, 1, 'x'
    FROM generate_series(1, 4000) AS run, generate_series(1, 5) AS step
    """,
    """
    INSERT INTO thinkpool.run_files SELECT 'run_' || run, '[]', '' FROM generate_series(1, 20000) AS run
    """,
    """
    INSERT INTO thinkpool.webhook_deliveries (run_id, target, next_at)
    SELECT 'run_' || run, 'run', 50000 + run FROM generate_series(2001, 20000) AS run
    """,
)


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def crowded_url(request: pytest.FixtureRequest, postgres: PostgresServer) -> str:
    """A database of 100,000 ended runs, two that wait and one that executes, each with a webhook."""
    url = postgres.new_database()
    store = joined_store(url)
    with connect(url, purpose="test") as connection:
        for table in ("runs", "run_events", "run_steps", "run_files", "webhook_deliveries"):
            connection.execute(f"ALTER TABLE thinkpool.{table} SET (autovacuum_enabled = off)".encode())
        connection.execute(FILL_RUNS.encode(), (QUESTION,))
        for statement in FILL:
            connection.execute(statement.encode())
        if request.param == "with statistics":
            connection.execute("ANALYZE")
    with closing(store):
        go_on(store)
    return url


def go_on(store: Store) -> None:
    """Adds the runs that go on."""
    hook = Webhook(target="run", url="https://there.example/hook")
    for number in range(1, 4):
        run = stored_run(RunId(f"waiting_{number}"), arrival=ENDED_RUNS + number)
        store.write([lambda to, run=run: to.insert_run(replace(run, webhooks=(hook,)), lambda _: None)])
    store.write([lambda to: to.claim(RunId("waiting_1"))])


def tallied(url: str) -> int:
    """Rows that were read by now, one by one or found in an index."""
    with connect(url, purpose="test") as connection:
        sessions = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        give_up_at = time.monotonic() + 20
        while connection.execute(sessions + " AND application_name LIKE 'thinkpool%'").fetchall():
            assert time.monotonic() < give_up_at  # it tells what it read when it ends
        rows = connection.execute(
            "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)"
            " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)"
        ).fetchall()
    return int(rows[0][0])


def rows_read(url: str, ask: Callable[[PostgresStore], object]) -> int:
    before = tallied(url)
    with closing(joined_store(url, f"replica-{next(_NUMBERS)}")) as store:
        for _ in range(TIMES):
            ask(store)
    return (tallied(url) - before) // TIMES


@pytest.mark.parametrize(
    ("status", "runs"),
    [("queued", 2), ("running", 1), ("failed", 1), ("cancelled", 1), ("completed", 9), (None, 9)],
)
def test_no_more_runs_are_read_than_are_listed(crowded_url: str, status: str | None, runs: int) -> None:
    def ask(store: PostgresStore) -> None:
        assert len(store.list_runs(TENANT, before=None, status=status, most=9)) == runs

    assert rows_read(crowded_url, ask) < 100


def test_the_queue_s_figures_are_read_without_what_has_ended(crowded_url: str) -> None:
    def ask(store: PostgresStore) -> None:
        assert [run.run_id for run in store.unfinished()] == ["waiting_1", "waiting_2", "waiting_3"]
        assert store.last_arrival() == ENDED_RUNS + 3

    assert rows_read(crowded_url, ask) < 100


def test_the_next_delivery_is_found_at_once(crowded_url: str) -> None:
    def ask(store: PostgresStore) -> None:
        assert store.next_delivery_at() == 52_001

    assert rows_read(crowded_url, ask) < 100


def test_due_deliveries_are_claimed_without_looking_at_the_rest(crowded_url: str) -> None:
    claim = DeliveryClaim(now=52_005, until=52_001, most=20)

    def ask(store: PostgresStore) -> None:
        (claimed,) = store.write([lambda to: to.claim_deliveries(claim)])
        assert len(claimed) == 5

    assert rows_read(crowded_url, ask) < 200


def test_what_expires_is_deleted_without_reading_what_stays(crowded_url: str) -> None:
    def ask(store: PostgresStore) -> None:
        run_ids = store.past(2000, 100)
        assert len(run_ids) == 100
        store.expire(run_ids, 2000)

    assert rows_read(crowded_url, ask) < 100 * (50 + 5 + 20)


@pytest.fixture(scope="module")
def crowded_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """As `crowded_url`."""
    with closing(SqliteStore(tmp_path_factory.mktemp("crowd") / "runs.db")) as store:
        connection = store._own()
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO runs (run_id, tenant, status, origin, priority, arrival, is_foreground, fingerprint, question,"
            " metadata, created_at, finished_at) VALUES (?, ?, ?, 'research', 5, ?, 0, '', ?, '{}', ?, ?)",
            (
                (f"run_{number}", TENANT, RARE.get(number, "completed"), number, QUESTION, number, number)
                for number in range(1, ENDED_RUNS + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO webhook_deliveries (run_id, target, next_at) VALUES (?, 'run', ?)",
            ((f"run_{number}", 50_000 + number) for number in range(2001, 20_001)),
        )
        connection.execute("COMMIT")
        go_on(store)
        yield store


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda store: len(store.list_runs(TENANT, before=None, status="queued", most=9)), 2),
        (lambda store: len(store.list_runs(TENANT, before=None, status="running", most=9)), 1),
        (lambda store: len(store.list_runs(TENANT, before=None, status=None, most=9)), 9),
        (
            lambda store: [run.arrival for run in store.list_runs(TENANT, before=None, status="failed", most=9)],
            [60_000],
        ),
        (
            lambda store: [run.arrival for run in store.list_runs(TENANT, before=None, status="cancelled", most=9)],
            [70_000],
        ),
        (lambda store: [run.arrival for run in store.list_runs(TENANT, before=99, status="completed", most=1)], [98]),
        (lambda store: [run.arrival for run in store.list_runs(TENANT, before=100, status=None, most=2)], [99, 98]),
        (lambda store: [run.run_id for run in store.unfinished()], ["waiting_1", "waiting_2", "waiting_3"]),
        (lambda store: store.last_arrival(), ENDED_RUNS + 3),
        (lambda store: store.next_delivery_at(), 52_001),
    ],
)
def test_a_file_is_not_read_through_either(
    crowded_file: SqliteStore, ask: Callable[[SqliteStore], object], told: object
) -> None:
    steps: list[None] = []
    connection = crowded_file._own()
    connection.set_progress_handler(lambda: steps.append(None), 10)
    assert ask(crowded_file) == told
    connection.set_progress_handler(None, 0)
    assert len(steps) * 10 < 2000  # instructions of its machine, some for each row
