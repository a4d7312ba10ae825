"""What runs in a child process: makes one file of somebody's a document, as `python -m ...knowledge.file_worker`.

On standard input is a line of JSON with what is asked, then the file's bytes; the document as JSON goes to standard
output. What cannot be read within the limits is a dead child.
"""

import csv
import gc
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import orjson

from thinkpool_pipeline.knowledge.passages import CutDocument, IndexedDocument, cut
from thinkpool_pipeline.knowledge.plain_text import Block, decoded, listing, plain_document
from thinkpool_pipeline.knowledge.tables import row_blocks
from thinkpool_pipeline.parsing import DocumentKind

MOST_PASSAGES = 20_000
"""Of one file; what is more is left out."""

_DELIMITERS = ",;\t|"
_MOST_COLUMNS = 200
_LEAST_COLUMNS = 2
_NICENESS = 5
_FILE_BYTES = 1024 * 1024
_OPEN_FILES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """What is asked."""

    document: str
    """Its id, whose last part is the file's name."""
    kind: DocumentKind
    memory_bytes: int
    """What reading it may take, of address space."""
    cpu_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDocument:
    """The answer."""

    document: IndexedDocument
    is_cut: bool
    """Whether there was more of it."""


def main() -> None:
    """Makes the document."""
    request = FileRequest(**orjson.loads(sys.stdin.buffer.readline()))
    _confine(request.memory_bytes, request.cpu_seconds)
    content = sys.stdin.buffer.read()
    sys.stdout.buffer.write(orjson.dumps(made(request.document, request.kind, content)))


def made(document: str, kind: DocumentKind, content: bytes) -> MadeDocument:
    """The document of this id that a file's bytes make. A title that it does not have itself is the file's name."""
    match kind:
        case "csv":
            whole = _made(document, _rows(document, decoded(content)))
        case "json":
            whole = _made(document, _json(decoded(content)))
        case "html":
            whole = _plain(document, f"{document}.html", content)
        case "markdown":
            whole = _plain(document, f"{document}.md", content)
        case _:
            whole = _plain(document, f"{document}.txt", content)
    return _with_fewer_passages(whole)


def _confine(memory_bytes: int, cpu_seconds: int) -> None:
    """Takes from this process, for good, what reading a file does not need."""
    gc.disable()  # it is over soon, and what is read holds nothing in circles
    os.nice(_NICENESS)
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _with_fewer_passages(whole: IndexedDocument) -> MadeDocument:
    passages = whole.cut.passages[:MOST_PASSAGES]
    if len(passages) == len(whole.cut.passages):
        return MadeDocument(document=whole, is_cut=False)
    shorter = CutDocument(text=whole.cut.text[: passages[-1].end], passages=passages)
    return MadeDocument(document=replace(whole, cut=shorter), is_cut=True)


def _plain(document: str, name: str, content: bytes) -> IndexedDocument:
    plain = plain_document(name, content)
    return IndexedDocument(document=document, title=plain.title, cut=cut(plain.title, plain.blocks))


def _made(document: str, blocks: Sequence[Block]) -> IndexedDocument:
    title = document.rpartition("/")[2]
    return IndexedDocument(document=document, title=title, cut=cut(title, blocks))


def _json(text: str) -> list[Block]:
    with suppress(ValueError, TypeError):  # it is to be read, not to be valid
        text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    return [Block(kind="code", text=listing(text))] if text.strip() else []


def _rows(document: str, text: str) -> list[Block]:
    """The rows in sections under the columns, which the first row names; as plain text where it makes no table."""
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
    try:
        rows = [row[:_MOST_COLUMNS] for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if row]
    except csv.Error:
        rows = []
    width = max(map(len, rows), default=0)
    if width < _LEAST_COLUMNS:
        return list(plain_document(f"{document}.txt", text.encode()).blocks)
    columns, *others = ([*row, *[""] * (width - len(row))] for row in rows)
    return list(row_blocks(columns, others)) or [Block(kind="table", text=" | ".join(columns))]


if __name__ == "__main__":
    main()
