"""The child's part, without the child: what it says of a database, and what it takes from its process."""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import asdict, replace

import pytest
from thinkpool_pipeline.knowledge.databases import DatabaseLimits, worker

# The limit on SQLite's memory would be the whole process's, which here is that of all tests.
LIMITS = DatabaseLimits(heap_bytes=0, busy_seconds=0.05, seconds=2.0, table_seconds=0.2)
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"

LATE_ERROR = "SELECT sum(abs(CASE x WHEN 300000 THEN -9223372036854775807 - 1 ELSE x END)) FROM c"


def answer(path, sql=None, limits=LIMITS):
    return worker.answer({"path": str(path), "sql": sql, "limits": asdict(limits)})


def reason(path, sql=None, limits=LIMITS):
    return answer(path, sql, limits)["reason"]


def test_a_database_is_outlined(make):
    path = make(f"""
        CREATE TABLE t (id INTEGER PRIMARY KEY, name, photo BLOB, other REFERENCES t);
        INSERT INTO t VALUES (1, 'a', x'00', NULL), (2, 'bcd', NULL, 1);
        CREATE VIEW gone AS SELECT * FROM missing; CREATE VIEW endless AS {ENDLESS} SELECT x FROM c;
        CREATE VIRTUAL TABLE f USING fts5(body); CREATE TABLE "a
        b" (x);
        """)
    outline = answer(path, limits=replace(LIMITS, cell_characters=2))["outline"]
    table, gone, endless, virtual = outline["tables"]
    assert table["columns"][0] == {"name": "id", "type": "INTEGER", "is_key": True, "target": None}
    assert table["columns"][3]["target"] == "t"
    assert table["rows"] == [["1", "a", "(…", None], ["2", "b…", None, "1"]]
    assert (table["row_count"], table["is_whole"], table["fault"]) == (2, True, None)
    assert (gone["columns"], gone["fault"]) == ([], "sql")
    assert (endless["row_count"], endless["is_whole"], endless["fault"]) == (None, False, None)
    assert (virtual["name"], virtual["kind"]) == ("f", "virtual")
    assert answer(path, limits=replace(LIMITS, max_tables=1))["outline"]["more_tables"] == 3


def test_a_query_is_answered_or_refused(make):
    path = make("CREATE TABLE t (x, y); INSERT INTO t VALUES (x'0001', 1.5), ('long', NULL);")
    limits = replace(LIMITS, cell_characters=3, max_rows=2)
    found = answer(path, "SELECT x, y AS z FROM t UNION ALL SELECT 1, 2", limits)["result"]
    assert found == {"columns": ["x", "z"], "rows": [["(2 bytes)", "1.5"], ["lo…", None]], "is_cut": True}
    assert answer(path, "SELECT body", limits) == {"reason": "sql", "message": "no such column: body"}
    assert answer(path, "SELECT name FROM pragma_table_info('t')", limits)["result"]["rows"] == [["x"], ["y"]]
    for sql in ("DROP TABLE t", "ATTACH 'x' AS x", "PRAGMA user_version = 1", "BEGIN"):
        assert reason(path, sql) == "forbidden"
    for sql in ("", "SELECT 1; SELECT 2", "UPDATE sqlite_master SET sql = ''", "SELECT load_extension('x')"):
        assert reason(path, sql) == "sql"
    assert reason(path, f"{ENDLESS} SELECT count(*) FROM c") == "too-slow"
    assert reason(path, "SELECT zeroblob(99999999)") == "sql"


def test_what_is_no_database_or_is_in_use_is_told(make, tmp_path):
    path = make("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
    (tmp_path / "text.db").write_text("x" * 200)
    os.mkfifo(tmp_path / "pipe.db")
    assert [reason(tmp_path / name) for name in ("text.db", "pipe.db", "no.db")] == [
        "no-database",
        "no-database",
        "broken",
    ]
    with sqlite3.connect(path) as writer:
        writer.execute("INSERT INTO t VALUES (2)")
        writer.commit()
        assert answer(path, "SELECT count(*) FROM t")["result"]["rows"] == [["2"]]
        shutil.copy(path, tmp_path / "b.db")
        shutil.copy(f"{path}-wal", tmp_path / "b.db-wal")
        assert reason(tmp_path / "b.db", "SELECT 1 FROM t") == "unfinished"
        (tmp_path / "b.db-wal").write_bytes(b"")
        assert answer(tmp_path / "b.db", "SELECT count(*) FROM t")["result"]
    writer.close()
    with sqlite3.connect(make("CREATE TABLE t (x);", "c.db"), isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert reason(tmp_path / "c.db", "SELECT 1 FROM t") == "busy"
    writer.close()


@pytest.mark.parametrize("sql", ["SELECT count(*) FROM c", LATE_ERROR])
def test_what_is_read_without_locks_and_goes_on_changing_is_busy(make, sql):
    path = make("PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
    is_over = threading.Event()

    def change() -> None:
        for moment in itertools.count(1):
            if is_over.wait(0.001):
                return
            os.utime(path, ns=(moment, moment))

    changing = threading.Thread(target=change)
    changing.start()
    try:
        assert reason(path, f"{ENDLESS[:-1]} LIMIT 300000) {sql}") == "busy"
    finally:
        is_over.set()
        changing.join()


def test_a_child_s_process_has_what_it_needs_and_no_more(make):
    path = make("CREATE TABLE t (x);")
    request = {"path": str(path), "sql": "SELECT 1", "limits": asdict(LIMITS)}
    program = f"""
import io, json, resource, runpy, sys
sys.stdin = io.TextIOWrapper(io.BytesIO({json.dumps(request).encode()!r}))
runpy.run_path({worker.__file__!r}, run_name="__main__")
kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
print([resource.getrlimit(kind)[1] for kind in kinds])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    reply, _, limits = done.stdout.rpartition("}")
    assert json.loads(reply + "}")["result"]["rows"] == [["1"]]
    assert json.loads(limits) == [LIMITS.memory_bytes, 4, 1024 * 1024, 0]
