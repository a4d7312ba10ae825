import asyncio
import os
import shutil
import sqlite3
import stat
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.knowledge.databases import DatabaseLimits, DatabaseReader, DatabaseUnreadable
from thinkpool_pipeline.knowledge.databases.reader import QUERY_LIMITS, Column

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, photo BLOB);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id REFERENCES customers (id), total REAL);
INSERT INTO customers VALUES (1, 'Ada', x'00ff00'), (2, NULL || 'x', NULL) ON CONFLICT DO NOTHING;
INSERT INTO customers VALUES (3, 'Łucja', zeroblob(5));
INSERT INTO orders VALUES (1, 1, 2.5), (2, 1, 1e300), (3, 3, NULL);
CREATE VIEW large AS SELECT * FROM orders WHERE total > 3;
"""
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"


def reader(**query_limits: object) -> DatabaseReader:
    return DatabaseReader(query_limits=replace(QUERY_LIMITS, **query_limits))


EARLIER: set[psutil.Process] = set()
"""Processes that other tests in this one have left running, as servers that are shared are."""


@pytest.fixture(autouse=True)
def earlier() -> None:
    EARLIER.clear()
    EARLIER.update(psutil.Process().children())


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child not in EARLIER and is_worker(child)]


def is_worker(child: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # a zombie, too, is none
        return any("worker.py" in part for part in child.cmdline())
    return False


async def until_reading() -> psutil.Process:
    while not (found := children()):  # noqa: ASYNC110 -- a process says nothing when it starts
        await asyncio.sleep(0.01)
    return found[0]


async def unreadable(path) -> str:
    with pytest.raises(DatabaseUnreadable) as refused:
        await DatabaseReader(DatabaseLimits(busy_seconds=0.1)).outline(path)
    return refused.value.reason


async def test_tables_are_told_with_their_columns_and_rows(make):
    path = make(SHOP.replace("(2, NULL || 'x', NULL) ON CONFLICT DO NOTHING", "(2, 'x', NULL)"))
    outline = await DatabaseReader().outline(path)
    customers, orders, large = outline.tables
    assert (customers.name, customers.kind, customers.row_count, customers.is_whole) == ("customers", "table", 3, True)
    assert customers.columns[:2] == (
        Column(name="id", type="INTEGER", is_key=True, target=None),
        Column(name="name", type="TEXT", is_key=False, target=None),
    )
    assert customers.rows == (("1", "Ada", "(3 bytes)"), ("2", "x", None), ("3", "Łucja", "(5 bytes)"))
    assert orders.columns[1] == Column(name="customer_id", type="", is_key=False, target="customers.id")
    assert orders.rows[1:] == (("2", "1", "1e+300"), ("3", "3", None))
    assert (large.kind, large.row_count, large.fault) == ("view", 1, None)
    assert outline.more_tables == 0


async def test_names_that_nobody_expects_are_names(make):
    path = make("""
        CREATE TABLE "semi;colon ""quoted"" / slash" ("a b" TEXT, "select" INT, "" TEXT, "ü'`]" TEXT);
        INSERT INTO "semi;colon ""quoted"" / slash" VALUES ('1', 2, '3', '4');
        CREATE TABLE "line
        break" (a); CREATE TABLE "" (a); CREATE TABLE sqliteish (a); CREATE TABLE "漢字" (x);
        """)
    outline = await DatabaseReader().outline(path)
    assert [table.name for table in outline.tables] == ['semi;colon "quoted" / slash', "sqliteish", "漢字"]
    assert outline.tables[0].rows == (("1", "2", "3", "4"),)
    assert [column.name for column in outline.tables[0].columns] == ["a b", "select", "", "ü'`]"]


async def test_of_a_large_table_a_sample_is_taken_and_long_values_are_cut(make):
    path = make(f"CREATE TABLE t (x); {ENDLESS} INSERT INTO t SELECT x FROM c LIMIT 300; CREATE TABLE u (y);"
                "INSERT INTO u VALUES (printf('%.50c', 'a'));")  # fmt: skip
    limits = DatabaseLimits(max_rows=200, sample_rows=5, cell_characters=10)
    large, small = (await DatabaseReader(limits).outline(path)).tables
    assert (len(large.rows), large.row_count, large.is_whole) == (5, 300, False)
    assert (small.rows, small.is_whole) == ((("aaaaaaaaa…",),), True)


async def test_tables_and_characters_have_limits(make):
    path = make("".join(f"CREATE TABLE t{n} (x); INSERT INTO t{n} VALUES ('0123456789'), ('b');" for n in range(5)))
    outline = await DatabaseReader(DatabaseLimits(max_tables=3, max_characters=12)).outline(path)
    assert ([table.name for table in outline.tables], outline.more_tables) == (["t0", "t1", "t2"], 2)
    assert [len(table.rows) for table in outline.tables] == [2, 1, 1]


async def test_what_takes_too_long_of_one_table_is_left_out_and_the_others_are_read(make):
    path = make(f"CREATE VIEW endless AS {ENDLESS} SELECT x FROM c; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
    endless, table = (await DatabaseReader(DatabaseLimits(table_seconds=0.2)).outline(path)).tables
    assert (endless.row_count, endless.is_whole) == (None, False)
    assert endless.columns[0].name == "x"
    assert table.rows == (("1",),)


async def test_a_table_that_cannot_be_read_says_so_and_the_others_are_read(make):
    path = make("CREATE TABLE gone (x); CREATE VIEW broken AS SELECT x FROM gone; DROP TABLE gone; CREATE TABLE t (x);")
    broken, table = (await DatabaseReader().outline(path)).tables
    assert (broken.fault, broken.columns) == ("sql", ())
    assert (table.fault, table.row_count) == (None, 0)


async def test_virtual_tables_are_read_and_what_they_are_made_of_is_not_shown(make):
    path = make("CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('deep sea');")
    (notes,) = (await DatabaseReader().outline(path)).tables
    assert (notes.name, notes.kind, notes.rows) == ("notes", "virtual", (("deep sea",),))
    found = await DatabaseReader().query(path, "SELECT body FROM notes WHERE notes MATCH 'sea'")
    assert found.rows == (("deep sea",),)


async def test_text_that_is_no_text_is_read_all_the_same(make):
    path = make("CREATE TABLE t (x); INSERT INTO t VALUES (CAST(x'61ff62' AS TEXT)), (char(0) || 'b');")
    (table,) = (await DatabaseReader().outline(path)).tables
    assert table.rows == (("a\ufffdb",), ("\0b",))


# ---------------------------------------------------------------------------------------------- who else has it open


async def test_a_database_with_a_log_is_read_with_what_is_in_the_log_and_nothing_is_made_beside_it(make, tmp_path):
    path = make("PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
    assert os.listdir(tmp_path) == ["a.db"]
    os.chmod(path, stat.S_IRUSR)
    assert (await DatabaseReader().outline(path)).tables[0].row_count == 0
    assert os.listdir(tmp_path) == ["a.db"]
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    with sqlite3.connect(path) as writer:
        writer.execute("INSERT INTO t VALUES ('in the log')")
        writer.commit()
        beside = {name: (tmp_path / name).stat().st_size for name in os.listdir(tmp_path)}
        assert (await DatabaseReader().outline(path)).tables[0].rows == (("in the log",),)
        assert {name: (tmp_path / name).stat().st_size for name in os.listdir(tmp_path)} == beside
    writer.close()


async def test_a_database_whose_writer_was_killed_is_read_with_its_log(make, tmp_path):
    path = make("PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
    with sqlite3.connect(path) as writer:
        writer.execute("INSERT INTO t VALUES ('in the log')")
        writer.commit()
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{ending}", tmp_path / f"killed.db{ending}")
            if ending != "-shm":
                shutil.copy(f"{path}{ending}", tmp_path / f"torn.db{ending}")
    writer.close()
    assert (await DatabaseReader().outline(tmp_path / "killed.db")).tables[0].rows == (("in the log",),)
    assert await unreadable(tmp_path / "torn.db") == "unfinished"


async def test_a_database_that_somebody_has_locked_is_busy_and_is_read_afterwards(make):
    path = make(SHOP.split(";")[0])
    with sqlite3.connect(path, isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert await unreadable(path) == "busy"
        writer.execute("ROLLBACK")
    writer.close()
    assert (await DatabaseReader().outline(path)).tables


async def test_a_reader_keeps_no_writer_from_writing(make):
    path = make("CREATE TABLE t (x);")
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(reader(seconds=30.0).query(path, f"{ENDLESS} SELECT count(*) FROM c, t"))
        await until_reading()
        with sqlite3.connect(path, timeout=5) as writer:
            writer.execute("INSERT INTO t VALUES (1)")
        writer.close()
        slow.cancel()


# -------------------------------------------------------------------------------------------------- what is no database


async def test_what_is_no_database_is_told(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "empty.db").touch()
    os.mkfifo(tmp_path / "pipe.db")
    for name in ("text.db", "empty.db", "pipe.db"):
        assert await unreadable(tmp_path / name) == "no-database"
    assert await unreadable(tmp_path / "missing.db") == "broken"


async def test_damage_is_told_or_left_out(make):
    path = make(SHOP.replace("(2, NULL || 'x', NULL) ON CONFLICT DO NOTHING", "(2, 'x', NULL)"))
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    outline = await DatabaseReader().outline(path)
    assert [table.fault for table in outline.tables] == ["broken", "broken", "broken"]
    path.write_bytes(data[:150] + b"\xff" * (len(data) - 150))
    assert await unreadable(path) == "broken"
    path.write_bytes(data[:100])
    assert await unreadable(path) == "broken"


# ------------------------------------------------------------------------------------------------------------ queries


async def test_a_query_gives_its_columns_and_rows(make):
    found = await DatabaseReader().query(
        make("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, NULL);"),
        "WITH s AS (SELECT * FROM t) SELECT sum(a) AS total, max(b), NULL FROM s -- all of it",
    )
    assert (found.columns, found.rows, found.is_cut) == (("total", "max(b)", "NULL"), (("3", "x", None),), False)


async def test_rows_and_characters_of_a_result_have_limits(make):
    path = make("CREATE TABLE t (x);")
    rows = await reader(max_rows=3).query(path, f"{ENDLESS} SELECT x FROM c")
    assert (rows.rows, rows.is_cut) == ((("1",), ("2",), ("3",)), True)
    characters = await reader(table_characters=10).query(path, f"{ENDLESS} SELECT 'abcdef' FROM c")
    assert (characters.rows, characters.is_cut) == ((("abcdef",),), True)
    whole = await reader(max_rows=3).query(path, "VALUES (1), (2), (3)")
    assert (len(whole.rows), whole.is_cut) == (3, False)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET x = 1",
        "DELETE FROM t",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "REPLACE INTO t VALUES (1)",
        "DROP TABLE t",
        "CREATE TABLE u (x)",
        "CREATE TEMP TABLE u (x)",
        "CREATE TEMP VIEW u AS SELECT 1",
        "CREATE VIRTUAL TABLE u USING fts5(x)",
        "CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END",
        "ALTER TABLE t RENAME TO u",
        "UPDATE sqlite_master SET sql = 'x'",
        "ATTACH 'other.db' AS other",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO 'copy.db'",
        "REINDEX",
        "ANALYZE",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = 1",
        "PRAGMA query_only = 0",
        "PRAGMA trusted_schema = 1",
        "PRAGMA hard_heap_limit = 0",
        "PRAGMA user_version = 7",
        "PRAGMA database_list",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple', x'00')",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT s",
        "SELECT 1; DELETE FROM t",
        "SELECT 1; SELECT 2",
        "SELECT ?",
        "SELECT writefile('f', 'x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT",
        "",
        "-- nothing",
        "SELECT 1 \0",
        "nonsense",
    ],
)
async def test_a_query_that_does_more_than_read_is_refused_and_does_nothing(make, tmp_path, sql):
    path = make("CREATE TABLE t (x); INSERT INTO t VALUES ('kept');")
    before = path.read_bytes()
    with pytest.raises(InvalidArguments):
        await DatabaseReader().query(path, sql)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.db"]


@pytest.mark.parametrize(
    "sql",
    [
        f"{ENDLESS} SELECT count(*) FROM c",
        f"{ENDLESS} SELECT x, zeroblob(900000) FROM c ORDER BY 2",
        f"{ENDLESS} SELECT group_concat(x) FROM c",
        f"{ENDLESS} SELECT json_group_array(x) FROM c",
        "SELECT zeroblob(1000000000)",
        "SELECT replace(replace(zeroblob(9000000), x'00', 'aaaaaaaaaaaaaaa'), 'a', 'bbbbbbbbbbbbbbbbb')",
        "SELECT randomblob(9000000) || randomblob(9000000)",
        "SELECT 'a' LIKE " + "printf('%.40000c', '%')",
    ],
)
async def test_a_query_that_takes_too_much_ends_in_its_limits(make, sql):
    path = make("CREATE TABLE t (x);")
    with pytest.raises(InvalidArguments):
        await reader(seconds=0.5, heap_bytes=16 * 1024 * 1024).query(path, sql)


async def test_a_query_that_hangs_within_one_step_is_killed_with_its_process(make):
    path = make("CREATE TABLE t (x);")
    hasty = DatabaseReader(query_limits=replace(QUERY_LIMITS, seconds=0.1), slack_seconds=0.5)
    with pytest.raises(InvalidArguments, match="too much time or memory"):
        await hasty.query(path, "SELECT printf('%.1000000000c', 'x')")
    assert children() == []


async def test_what_is_wrong_with_a_query_is_told(make):
    with pytest.raises(InvalidArguments, match="no such column: colour"):
        await DatabaseReader().query(make("CREATE TABLE t (x);"), "SELECT colour FROM t")


async def test_a_child_that_dies_is_a_database_that_cannot_be_read(make):
    path = make(f"CREATE VIEW endless AS {ENDLESS} SELECT x FROM c;")
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(unreadable(path))
        (await until_reading()).kill()
    assert asking.result() == "broken"


async def test_a_caller_that_leaves_ends_the_child(make):
    path = make("CREATE TABLE t (x);")
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(reader(seconds=20.0).query(path, f"{ENDLESS} SELECT count(*) FROM c"))
        child = await until_reading()
        asking.cancel()
    assert not child.is_running()


async def test_a_child_has_limits_and_none_of_the_server_s_environment(make):
    path = make("CREATE TABLE t (x);")
    os.environ["THINKPOOL_CANARY"] = "canary"
    try:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(reader(seconds=20.0).query(path, f"{ENDLESS} SELECT count(*) FROM c"))
            child = await until_reading()
            while child.rlimit(psutil.RLIMIT_CORE) != (0, 0):  # noqa: ASYNC110 -- nor when it is ready
                await asyncio.sleep(0.01)
            assert "canary" not in str(child.environ())
            assert child.rlimit(psutil.RLIMIT_AS)[0] == QUERY_LIMITS.memory_bytes
            assert child.rlimit(psutil.RLIMIT_FSIZE)[0] <= 1024 * 1024
            asking.cancel()
    finally:
        del os.environ["THINKPOOL_CANARY"]


async def test_two_databases_are_read_at_a_time_and_the_others_wait(make):
    path = make("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
    shared = DatabaseReader()
    most = 0

    async def ask(number: int) -> str | None:
        nonlocal most
        found = await shared.query(path, f"SELECT x + {number} FROM t")
        most = max(most, len(children()))
        return found.rows[0][0]

    assert await asyncio.gather(*map(ask, range(6))) == [str(number + 1) for number in range(6)]
    assert most <= 2
