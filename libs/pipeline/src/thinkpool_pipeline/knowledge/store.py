"""The index: files, their documents, passages and words in one SQLite database, written by one thread, read by several.

On disk it holds nothing that the files do not: an index that is damaged, of another version or of another directory is
made anew. Searches see the last finished batch while the next one is written (WAL).
"""

import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from thinkpool_pipeline.knowledge.files import Stamp
from thinkpool_pipeline.knowledge.passages import IndexedDocument
from thinkpool_pipeline.knowledge.words import is_pair_start, searchable

_VERSION = 2
"""Raised whenever the tables, or the way files become passages and words, change."""

_SCHEMA = """
CREATE TABLE meta (root TEXT NOT NULL);
CREATE TABLE files (
  id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, modified_ns INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
  note TEXT NOT NULL
);
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, file_id INTEGER NOT NULL, document TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX documents_of_file ON documents (file_id);
CREATE TABLE passages (
  id INTEGER PRIMARY KEY, document_id INTEGER NOT NULL, ordinal INTEGER NOT NULL, offset INTEGER NOT NULL,
  title TEXT NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX passages_of_document ON passages (document_id, ordinal);
CREATE VIRTUAL TABLE words USING fts5 (
  title, heading, text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61'
);
CREATE TRIGGER passage_added AFTER INSERT ON passages BEGIN
  INSERT INTO words (rowid, title, heading, text)
  VALUES (new.id, searchable(new.title), searchable(new.heading), searchable(new.text));
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
  INSERT INTO words (words, rowid, title, heading, text)
  VALUES ('delete', old.id, searchable(old.title), searchable(old.heading), searchable(old.text));
END;
"""

_FEW_PASSAGES = 30
_BUSY_SECONDS = 10.0

_BEST = "SELECT rowid, -bm25(words, 2.0, 1.5, 1.0) AS score FROM words WHERE words MATCH ? ORDER BY score DESC LIMIT ?"

_REMOVE = (
    "DELETE FROM passages WHERE document_id IN"
    " (SELECT documents.id FROM documents JOIN files ON files.id = file_id WHERE file = ?)",
    "DELETE FROM documents WHERE file_id = (SELECT id FROM files WHERE file = ?)",
    "DELETE FROM files WHERE file = ?",
)

_HAS_SAID = """
SELECT 1 FROM documents JOIN files ON files.id = file_id WHERE file = ? AND instr(documents.text, ?) LIMIT 1
"""

_SAYING = """
SELECT words.rowid FROM words JOIN passages ON passages.id = words.rowid
WHERE words MATCH ? AND document_id != (SELECT document_id FROM passages WHERE id = ?) LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPassage:
    """A passage of a document, as search finds it."""

    document: str
    """The document's id: its path relative to the directory, with `/` between."""
    title: str
    heading: str
    """The headings above it, outermost first, with ` / ` between; empty at the top of a document."""
    ordinal: int
    """Its place among the document's passages, from 0."""
    offset: int
    """Where it starts in the document's text, in characters."""
    text: str
    """The document's own words, markup aside."""


class IndexWriter:
    """The one connection that changes the index. Not thread-safe."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`open` and `in_memory` make one."""
        self._connection = connection

    @classmethod
    def open(cls, database: Path, root: Path, *, busy_seconds: float = _BUSY_SECONDS) -> "IndexWriter":
        """The index of the directory `root` in a file of its own."""
        database.parent.mkdir(parents=True, exist_ok=True)
        try:
            return cls(_prepared(database, root, busy_seconds))
        except sqlite3.OperationalError:
            raise  # locked or out of reach: somebody's index, perhaps, and not damaged
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                database.with_name(database.name + suffix).unlink(missing_ok=True)
            return cls(_prepared(database, root, busy_seconds))

    @classmethod
    def in_memory(cls) -> "IndexWriter":
        """An index that is gone when it is closed."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.create_function("searchable", 1, searchable, deterministic=True)
        connection.executescript(_SCHEMA)
        return cls(connection)

    def finished(self) -> "IndexReader":
        """The index in memory, to be read from now on, and changed no more."""
        return IndexReader(self._connection)

    def stamps(self) -> Mapping[str, Stamp]:
        """What is indexed, by file."""
        rows = self._connection.execute("SELECT file, modified_ns, size_bytes FROM files")
        return {file: Stamp(modified, size) for file, modified, size in rows}

    def notes(self, limit: int) -> Sequence[tuple[str, str]]:
        """Files of which something could not be indexed, each with what and why; at most `limit`, in order of name."""
        statement = "SELECT file, note FROM files WHERE note != '' ORDER BY file LIMIT ?"
        return self._connection.execute(statement, (limit,)).fetchall()

    def forget_failures(self) -> None:
        """Forgets files of which nothing could be indexed, so that they are tried again."""
        self._connection.execute("DELETE FROM files WHERE note != '' AND id NOT IN (SELECT file_id FROM documents)")

    def titles(self) -> Iterator[tuple[int, str]]:
        """Ids of the documents' first passages, each with its document's title."""
        return self._connection.execute("SELECT id, title FROM passages WHERE ordinal = 0")

    def counts(self) -> tuple[int, int]:
        """How many documents and passages there are."""
        return self._connection.execute(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages)"
        ).fetchone()

    def is_common(self, word: str) -> bool:
        """Whether so many passages have the word that it tells little: a tenth, but at least 30."""
        most = max(_FEW_PASSAGES, self.counts()[1] // 10)
        rows = self._connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)", (quoted(word), most + 1)
        )
        return rows.fetchone()[0] > most

    def remove(self, files: Sequence[str]) -> None:
        """Forgets files and their documents."""
        for file in files:
            for statement in _REMOVE:
                self._connection.execute(statement, (file,))

    def replace(self, file: str, stamp: Stamp, documents: Sequence[IndexedDocument], note: str = "") -> None:
        """Puts what a file holds now in the place of what it held, if anything; `note` is for `notes`."""
        self.remove([file])
        row = (file, stamp.modified_ns, stamp.size_bytes, note)
        file_id = self._connection.execute(
            "INSERT INTO files (file, modified_ns, size_bytes, note) VALUES (?, ?, ?, ?)", row
        ).lastrowid
        for document in documents:
            self._insert(file_id, document)

    def _insert(self, file_id: int | None, document: IndexedDocument) -> None:
        text, title = document.cut.text, document.title
        document_id = self._connection.execute(
            "INSERT INTO documents (file_id, document, title, text) VALUES (?, ?, ?, ?)",
            (file_id, document.document, title, text),
        ).lastrowid
        self._connection.executemany(
            "INSERT INTO passages (document_id, ordinal, offset, title, heading, text) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (document_id, ordinal, passage.start, title, passage.heading, text[passage.start : passage.end])
                for ordinal, passage in enumerate(document.cut.passages)
            ),
        )

    @contextmanager
    def batch(self) -> Generator[None]:
        """Changes made within are seen together, or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            self._connection.rollback()  # which does nothing after a commit

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class IndexReader:
    """A connection that only reads. Used by one thread at a time, whichever."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`open` makes one; so does a writer that has `finished`."""
        self._connection = connection
        connection.execute("PRAGMA query_only = 1")

    @classmethod
    def open(cls, database: Path) -> "IndexReader":
        """Reads the index in this file."""
        return cls(_connected(database))

    def __enter__(self) -> "IndexReader":
        """Begins a view of the index that stays the same until the end of the block."""
        self._connection.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.execute("ROLLBACK")

    def passage_count(self) -> int:
        """How many passages there are."""
        return self._connection.execute("SELECT count(*) FROM passages").fetchone()[0]

    def best(self, match: str, limit: int) -> dict[int, float]:
        """Ids of the passages that match best, by BM25, best first, with their scores."""
        return dict(self._connection.execute(_BEST, (match, limit)))

    def matching(self, match: str, limit: int) -> frozenset[int]:
        """Ids of at most `limit` passages that match."""
        rows = self._connection.execute("SELECT rowid FROM words WHERE words MATCH ? LIMIT ?", (match, limit))
        return frozenset(row[0] for row in rows)

    def saying(self, phrase: str, passage_id: int, limit: int) -> frozenset[int]:
        """Ids of at most `limit` passages, of other documents than that of `passage_id`, whose text says the phrase."""
        rows = self._connection.execute(_SAYING, ("text : " + quoted(phrase), passage_id, limit))
        return frozenset(row[0] for row in rows)

    def passages(self, ids: Sequence[int]) -> dict[int, FoundPassage]:
        """The passages of these ids, in their order; those that the index no longer has are left out."""
        marks = ", ".join("?" * len(ids))
        rows = self._connection.execute(
            "SELECT passages.id, document, passages.title, heading, ordinal, offset, passages.text FROM passages"  # noqa: S608 -- question marks only
            f" JOIN documents ON documents.id = document_id WHERE passages.id IN ({marks})",
            ids,
        )
        found = {
            row[0]: FoundPassage(
                document=row[1], title=row[2], heading=row[3], ordinal=row[4], offset=row[5], text=row[6]
            )
            for row in rows
        }
        return {passage_id: found[passage_id] for passage_id in ids if passage_id in found}

    def has_said(self, file: str, words: str) -> bool:
        """Whether a document of this file has exactly these words in its text."""
        return self._connection.execute(_HAS_SAID, (file, words)).fetchone() is not None

    def text(self, document: str) -> tuple[str, str] | None:
        """Title and text of a document; None when it is not in the index."""
        return self._connection.execute("SELECT title, text FROM documents WHERE document = ?", (document,)).fetchone()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def quoted(phrase: str) -> str:
    """Words as FTS5 takes them literally, one after another: nothing in them is an operator.

    They are `spaced` already; a single character of a script without blanks stands for what begins with it.
    """
    literal = '"' + phrase.replace('"', '""').replace("\0", " ") + '"'
    return f"{literal} *" if is_pair_start(phrase) else literal


def _connected(database: Path, busy_seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=busy_seconds)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.create_function("searchable", 1, searchable, deterministic=True)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepared(database: Path, root: Path, busy_seconds: float) -> sqlite3.Connection:
    with ExitStack() as undo:
        connection = _connected(database, busy_seconds)
        undo.callback(connection.close)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION or connection.execute("SELECT root FROM meta").fetchone() != (str(root),):
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                raise sqlite3.DatabaseError("the index is of another version or directory")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO meta (root) VALUES (?)", (str(root),))
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        undo.pop_all()
    return connection
