"""What runs in a child process: reads one SQLite database, once, and says as JSON what it found.

It is run by its path and imports nothing of the project, so that it is there within a few hundredths of a second. The
database may be anybody's and the SQL a model's: nothing is written, no lock but a reader's is taken, no file is made,
and time, memory and output have limits. What hangs or dies all the same is a dead child.

Source: https://www.sqlite.org/security.html, and https://www.sqlite.org/uri.html for what an address may ask for.
"""

import json
import os
import resource
import sqlite3
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

Cell: TypeAlias = str | None
Row: TypeAlias = list[Cell]


class Limits(TypedDict):
    """What one request may take."""

    seconds: float
    """In all."""
    table_seconds: float
    """For the rows of one table, or to count them."""
    busy_seconds: float
    """For a writer to finish."""
    memory_bytes: int
    """Of address space."""
    heap_bytes: int
    """Of SQLite's own."""
    value_bytes: int
    """The longest value that is read at all."""
    max_tables: int
    max_rows: int
    """Of a query; of a table whose rows are taken whole."""
    sample_rows: int
    """Of a larger table."""
    cell_characters: int
    table_characters: int
    """Of the rows of one table, or of a query."""
    max_characters: int
    """Of all rows."""


class Request(TypedDict):
    """A database to read; with `sql` by a query, else as a whole."""

    path: str
    sql: str | None
    limits: Limits


class Unreadable(Exception):
    """The database, or the query, cannot be read."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message


_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_READ_VERSION = 19
"""Where the header says how the database is written. Source: https://www.sqlite.org/fileformat2.html, 1.3.2."""
_WAL = 2
_WITHOUT_LOCKS = "mode=ro&immutable=1"
_TRIES = 3
_STEPS_BETWEEN_LOOKS = 2_000
_FILE_BYTES = 1024 * 1024
_OPEN_FILES = 32
_NICENESS = 5
_LONGEST_SQL_BYTES = 1_000_000
_LONGEST_PATTERN_BYTES = 200

_PRIMARY = 0xFF
"""The part of an error's code that says its kind."""
_REASONS = {
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_INTERRUPT: "too-slow",
    sqlite3.SQLITE_AUTH: "forbidden",
    sqlite3.SQLITE_READONLY: "forbidden",
    sqlite3.SQLITE_NOMEM: "too-hungry",
    sqlite3.SQLITE_CANTOPEN: "broken",
    sqlite3.SQLITE_CORRUPT: "broken",
    sqlite3.SQLITE_IOERR: "broken",
    sqlite3.SQLITE_NOTADB: "broken",
}

_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE)
_ALLOWED_PRAGMAS = ("table_list", "table_info", "table_xinfo", "foreign_key_list", "data_version")
_FORBIDDEN_FUNCTIONS = ("load_extension", "fts3_tokenizer")

_TABLES = r"""
SELECT listed.name, listed.type FROM sqlite_schema AS stored JOIN pragma_table_list AS listed USING (name)
WHERE schema = 'main' AND listed.type IN ('table', 'view', 'virtual') AND listed.name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY stored.rowid
"""


def main() -> None:
    """Answers the one request on standard input."""
    request: Request = json.load(sys.stdin.buffer)
    _confine(request["limits"])
    sys.stdout.buffer.write(json.dumps(answer(request), ensure_ascii=False).encode())


def answer(request: Request) -> dict[str, Any]:
    """Its `outline` or a query's `result`; or the `reason` why there is none, with SQLite's `message`."""
    try:
        return _read(request)
    except Unreadable as error:
        return {"reason": error.reason, "message": error.message}
    except MemoryError:
        return {"reason": "too-hungry", "message": ""}
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, OSError) as error:
        return {"reason": _reason(error), "message": str(error)[:300]}


def _confine(limits: Limits) -> None:
    """Takes from this process, for good, what reading a database does not need."""
    os.nice(_NICENESS)
    for kind, most in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, int(limits["seconds"]) + 2),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError | UnicodeError):
        return "broken"
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return "sql" if code is None else _REASONS.get(code & _PRIMARY, "sql")


# ------------------------------------------------------------------------------------------------------------ opening


def _read(request: Request) -> dict[str, Any]:
    """Reads it; where that takes no locks, as often as it takes to see it unchanged."""
    path, limits, sql = Path(request["path"]), request["limits"], request["sql"]
    patience = _Patience(limits)
    for _ in range(_TRIES):
        before, way = _fingerprint(path), _way_to_open(path)
        try:
            with closing(_connected(path, way, patience)) as connection:
                found = _outline(connection, patience) if sql is None else _query(connection, sql, limits)
        except sqlite3.DatabaseError:
            if way != _WITHOUT_LOCKS or _fingerprint(path) == before:
                raise
            continue
        if way != _WITHOUT_LOCKS or _fingerprint(path) == before:
            return found
    raise Unreadable("busy")


def _fingerprint(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size, int(_beside(path, "-wal").exists())


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _way_to_open(path: Path) -> str:
    """How to open it so that nothing is written, beside it neither.

    A database with a write-ahead log is read together with the log, by the index that its writers keep; where nobody
    has it open there is no log, and a reader with locks would make one.
    """
    header = _header(path)
    if not header.startswith(_MAGIC):
        raise Unreadable("no-database")
    if header[_READ_VERSION] != _WAL:
        return "mode=ro"
    log = _beside(path, "-wal")
    if not log.exists() or (not log.stat().st_size and not _beside(path, "-shm").exists()):
        return _WITHOUT_LOCKS
    if not _beside(path, "-shm").exists():
        raise Unreadable("unfinished")
    return "mode=ro&readonly_shm=1"


def _header(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("no-database")
        return os.read(descriptor, _HEADER_BYTES)
    finally:
        os.close(descriptor)


def _connected(path: Path, way: str, patience: "_Patience") -> sqlite3.Connection:
    limits = patience.limits
    address = f"{path.as_uri()}?{way}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=limits["busy_seconds"])
    try:
        connection.text_factory = _text
        for pragma in (
            "query_only = 1",
            "trusted_schema = 0",
            "cell_size_check = 1",
            "mmap_size = 0",
            "temp_store = MEMORY",
            f"hard_heap_limit = {limits['heap_bytes']}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits["value_bytes"])
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_SQL_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _LONGEST_PATTERN_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0)
        connection.set_authorizer(_allow)
        connection.set_progress_handler(patience.is_over, _STEPS_BETWEEN_LOOKS)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _allow(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """Lets statements read, and do nothing else."""
    is_allowed = (
        action in _ALLOWED
        or (action == sqlite3.SQLITE_FUNCTION and second not in _FORBIDDEN_FUNCTIONS)
        or (action == sqlite3.SQLITE_PRAGMA and first in _ALLOWED_PRAGMAS)
        # What declares a virtual table, as reading one does, asks for this; a statement's own wish is refused later on.
        or (action == sqlite3.SQLITE_UPDATE and first == "sqlite_master")
    )
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


class _Patience:
    """How long may be read: in all, and for the part at hand."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._end = self._until = time.monotonic() + limits["seconds"]

    def begin_part(self) -> None:
        """The next table may take its time."""
        self._until = min(self._end, time.monotonic() + self.limits["table_seconds"])

    def end_parts(self) -> None:
        """Only all of the time counts from now on."""
        self._until = self._end

    def is_over(self) -> bool:
        return time.monotonic() > self._until


# ------------------------------------------------------------------------------------------------------------ reading


def _query(connection: sqlite3.Connection, sql: str, limits: Limits) -> dict[str, Any]:
    with closing(connection.execute(sql)) as cursor:
        if cursor.description is None:
            raise Unreadable("sql", "it asks for nothing")
        columns = [column[0] for column in cursor.description]
        rows, is_cut = _taken(cursor, limits, limits["max_rows"], limits["table_characters"])
        return {"result": {"columns": columns, "rows": rows, "is_cut": is_cut}}


def _outline(connection: sqlite3.Connection, patience: _Patience) -> dict[str, Any]:
    limits = patience.limits
    named = [(name, kind) for name, kind in connection.execute(_TABLES) if _is_plain(name)]
    room = limits["max_characters"]
    tables: list[dict[str, Any]] = []
    for name, kind in named[: limits["max_tables"]]:
        table = _table(connection, patience, name, kind, min(room, limits["table_characters"]))
        room -= sum(len(cell or "") for row in table["rows"] for cell in row)
        tables.append(table)
    return {"outline": {"tables": tables, "more_tables": len(named) - len(tables)}}


def _is_plain(name: str) -> bool:
    """Whether a name can be shown, and leads back to its table."""
    return bool(name) and name.isprintable() and len(name) <= _LONGEST_PATTERN_BYTES and "\ufffd" not in name


def _table(
    connection: sqlite3.Connection, patience: _Patience, name: str, kind: str, characters: int
) -> dict[str, Any]:
    """A table as far as it can be read: what fails, or takes too long, is left out."""
    limits = patience.limits
    table: dict[str, Any] = {"name": name, "kind": kind, "columns": [], "row_count": None, "rows": []}
    table |= {"is_whole": False, "fault": None}
    patience.begin_part()
    try:
        table["columns"] = columns = _columns(connection, name)
        table["row_count"] = count = _count(connection, patience, name)
        is_modest = count is not None and count <= limits["max_rows"]
        shown = ", ".join(_shown(column["name"]) for column in columns)
        most = limits["max_rows"] if is_modest else limits["sample_rows"]
        patience.begin_part()
        with closing(connection.execute(f"SELECT {shown} FROM {_quoted(name)} LIMIT ?", (most,))) as cursor:  # noqa: S608 -- names, quoted
            table["rows"], is_cut = _taken(cursor, limits, most, characters)
        table["is_whole"] = is_modest and not is_cut
    except (sqlite3.Error, UnicodeError) as error:
        if _reason(error) == "busy":
            raise
        table["fault"] = _reason(error)
    patience.end_parts()
    return table


def _columns(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    rows = connection.execute('SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)', (table,))
    targets = {column: other if to is None else f"{other}.{to}" for column, other, to in rows}
    rows = connection.execute("SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden != 1", (table,))
    return [{"name": name, "type": kind, "is_key": bool(key), "target": targets.get(name)} for name, kind, key in rows]


def _count(connection: sqlite3.Connection, patience: _Patience, table: str) -> int | None:
    try:
        return connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]  # noqa: S608 -- a name, quoted
    except sqlite3.OperationalError as error:
        if patience.is_over() and _reason(error) == "too-slow":
            return None
        raise


def _shown(column: str) -> str:
    """The column's value; of bytes only how many: they would be read for nothing."""
    name = _quoted(column)
    return f"CASE typeof({name}) WHEN 'blob' THEN '(' || length({name}) || ' bytes)' ELSE {name} END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _taken(cursor: Iterable[tuple[Any, ...]], limits: Limits, most: int, characters: int) -> tuple[list[Row], bool]:
    """The first rows, and whether there are more."""
    rows: list[Row] = []
    for row in _cells(cursor, limits["cell_characters"]):
        characters -= sum(len(cell or "") for cell in row)
        if len(rows) == most or (characters < 0 and rows):
            return rows, True
        rows.append(row)
    return rows, False


def _cells(rows: Iterable[tuple[Any, ...]], most_characters: int) -> Iterator[Row]:
    for row in rows:
        yield [_cell(value, most_characters) for value in row]


def _cell(value: Any, most_characters: int) -> Cell:
    match value:
        case None:
            return None
        case bytes():
            return f"({len(value)} bytes)"
        case _:
            text = str(value)
            return text if len(text) <= most_characters else text[: most_characters - 1] + "…"


if __name__ == "__main__":
    main()
