"""Measures how many commits PostgreSQL takes from many replicas: `python -m benchmarks.commits`.

PostgreSQL's own `pgbench` does what each replica's writer does with a batch of events, again as soon as it is done, by
the server's own statements: mark the replica's row, append, tell the others, commit. It is measured without notices,
with them, and with as many listeners as writers, since every replica listens. A commit with a notice waits for the one
before it, disk included.
"""

import argparse
import re
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from rich.console import Console
from rich.table import Table
from thinkpool_pipeline.values import RunId
from thinkpool_server.event_log import postgres_statements as sql
from thinkpool_server.event_log.notices import CHANNEL, Appended, pack
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs

from benchmarks.processes import ProcessFailed
from benchmarks.record import load_average
from benchmarks.replicated import database_server

_EVENT = "x" * 200
_REPLICAS: Final[LiteralString] = """
INSERT INTO thinkpool.replicas (executor, host, slots)
SELECT 'replica-' || number, 'here', 1 FROM generate_series(0, %s) AS number
"""
_RUNS: Final[LiteralString] = """
INSERT INTO thinkpool.runs (run_id, tenant, status, origin, priority, arrival, is_foreground, fingerprint, question,
    metadata, created_at, epoch)
SELECT 'run-' || number, 'default', 'running', 'research', 5, number, false, '', '', '', 0, 1
FROM generate_series(0, %s) AS number
"""
_NUMBER: Final = "last_commit + 1"
_REPLICA: Final = "'replica-' || :client_id"
_RUN: Final = "'run-' || :client_id"


def measure(server: PostgresServer, *, writers: int, seconds: int, events: int, way: str) -> tuple[float, float]:
    """Commits a second, and the mean milliseconds of one, as pgbench has it: the writers' time by their commits."""
    url = server.new_database()
    with connect(url, purpose="benchmark") as connection:
        migrate(connection)
        connection.execute(_REPLICAS, (writers - 1,))
        connection.execute(_RUNS, (writers - 1,))
    (payload,) = pack(f"replica-{'0' * 40}", [Appended(RunId("run_" + "0" * 32), 100, 100 + events, False)])
    notices = () if way == "silent" else (_filled(sql.NOTIFY, f"'{CHANNEL}'", f"'{payload}' || :client_id"),)
    batch = ("BEGIN", _filled(sql.MARK_COMMIT, _NUMBER, _REPLICA, _NUMBER), _append(events), *notices, "COMMIT")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("".join(f"{statement.strip()};\n" for statement in batch))
        script.flush()
        Path(script.name).chmod(0o644)
        with _listeners(url, writers) if way == "listeners" else nullcontext():
            return _pgbench(url, script.name, writers=writers, seconds=seconds)


def _append(events: int) -> str:
    """The server's statement, for so many events of the writer's own run."""
    values = {
        "now": "0",
        "run_ids": f"ARRAY[{_RUN}]",
        "epochs": "ARRAY[1]",
        "counts": f"ARRAY[{events}]",
        "end_statuses": "ARRAY[NULL]",
        "event_runs": f"array_fill({_RUN}, ARRAY[{events}])",
        "places": f"ARRAY(SELECT generate_series(1, {events}))",
        "types": f"array_fill('report.delta'::text, ARRAY[{events}])",
        "data": f"array_fill('{_EVENT}'::bytea, ARRAY[{events}])",
        "step_runs": "ARRAY[]",
        "names": "ARRAY[]",
        "values": "ARRAY[]",
    }
    return re.sub(r"%\((\w+)\)[sb]", lambda found: values[found[1]], sql.APPEND)


def _filled(statement: str, *values: str) -> str:
    """The server's statement, with expressions in its parameters' places."""
    return statement.replace("%s", "{}").format(*values)


def _pgbench(url: str, script: str, *, writers: int, seconds: int) -> tuple[float, float]:
    programs = find_programs()
    if programs is None or not (programs / "pgbench").exists():
        raise ProcessFailed("pgbench is not installed; it comes with PostgreSQL's server")
    options = ["--no-vacuum", "--protocol=prepared", f"--client={writers}", f"--time={seconds}", f"--file={script}"]
    command = [programs / "pgbench", *options, url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 -- of our own
    if re.search(r"failed transactions: 0 ", told) is None:
        raise ProcessFailed(f"pgbench met failures:\n{told}")
    return float(_figure(r"tps = ([\d.]+)", told)), float(_figure(r"latency average = ([\d.]+) ms", told))


def _figure(pattern: str, told: str) -> str:
    found = re.search(pattern, told)
    if found is None:
        raise ProcessFailed(f"pgbench says something else than expected:\n{told}")
    return found[1]


@contextmanager
def _listeners(url: str, number: int) -> Generator[None]:
    """So many sessions that listen, and take what they are told as replicas do, without reading it."""
    sessions = [psycopg.connect(url, autocommit=True) for _ in range(number)]
    for session in sessions:
        session.execute("LISTEN thinkpool")
    is_over = threading.Event()
    thread = threading.Thread(target=_drain, args=(sessions, is_over))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        for session in sessions:
            session.close()


def _drain(sessions: list[psycopg.Connection], is_over: threading.Event) -> None:
    lines = {session.fileno(): session.pgconn for session in sessions}
    poll = select.poll()
    for line in lines:
        poll.register(line, select.POLLIN)
    while not is_over.is_set():
        for line, _ in poll.poll(100):
            lines[line].consume_input()
            while lines[line].notifies() is not None:
                pass


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commits", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 3, 10, 30, 100], help="how many write at once")
    parser.add_argument("--seconds", type=int, default=5, help="how long each is measured (default: 5)")
    parser.add_argument("--events", type=int, default=10, help="events of 200 bytes in a commit (default: 10)")
    options = parser.parse_args()
    table = Table("replicas", title=f"commits a second, each of {options.events} events; milliseconds of one")
    ways = ("silent", "notices", "listeners")
    for way in ways:
        table.add_column(way, justify="right")
    try:
        with database_server() as server:
            with connect(server.url(), purpose="benchmark") as connection:
                connection.execute("ALTER SYSTEM SET max_connections = 400")
            server.stop()
            server.start()
            for writers in options.replicas:
                cells: list[str] = []
                for way in ways:
                    rate, milliseconds = measure(
                        server, writers=writers, seconds=options.seconds, events=options.events, way=way
                    )
                    cells.append(f"{rate:,.0f}/s {milliseconds:7.1f} ms")
                table.add_row(str(writers), *cells)
    except ProcessFailed as error:
        print(error, file=sys.stderr)
        return 2
    Console(width=100).print(table)
    print(f"load average {load_average()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
