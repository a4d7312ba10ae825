"""What a database holds as documents: one that lists its tables, and one for each table."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from thinkpool_pipeline.knowledge.databases.reader import Column, DatabaseOutline, TableOutline
from thinkpool_pipeline.knowledge.passages import IndexedDocument, cut
from thinkpool_pipeline.knowledge.plain_text import Block
from thinkpool_pipeline.knowledge.tables import row_blocks

_MOST_COLUMNS_LISTED = 30


def database_documents(file: str, outline: DatabaseOutline) -> tuple[IndexedDocument, ...]:
    """The documents of the database `file`: its own id is the file's, a table's is the file's, `/`, and its name."""
    name = PurePosixPath(file).name
    documents = [_document(file, f"{name} (database)", list(_listed(name, outline)))]
    for table in outline.tables:
        title = f"{table.name} ({name})"
        documents.append(_document(f"{file}/{table.name}", title, list(_described(name, table))))
    return tuple(documents)


def _document(document: str, title: str, blocks: list[Block]) -> IndexedDocument:
    heading = Block(kind="heading", text=title, level=1)
    return IndexedDocument(document=document, title=title, cut=cut(title, [heading, *blocks]))


def _listed(name: str, outline: DatabaseOutline) -> Iterator[Block]:
    yield _text(f"The database {name} has {_counted(len(outline.tables) + outline.more_tables, 'table')}.")
    for table in outline.tables:
        columns = [column.name for column in table.columns]
        shown = ", ".join(columns[:_MOST_COLUMNS_LISTED]) + (", ..." if len(columns) > _MOST_COLUMNS_LISTED else "")
        yield _item(f"{table.name} ({_size(table)}): {shown or 'its columns cannot be read'}")
    if outline.more_tables:
        yield _item(f"{_counted(outline.more_tables, 'table')} more, which are not listed here")


def _described(database: str, table: TableOutline) -> Iterator[Block]:
    kind = "view" if table.kind == "view" else "table"
    yield _text(f"The {kind} {table.name} of the database {database} has {_size(table)}.")
    yield Block(kind="heading", text="Columns", level=2)
    yield from map(_column, table.columns)
    if table.rows:
        yield Block(kind="heading", text="Rows" if table.is_whole else "First rows", level=2)
        if not table.is_whole:
            yield _text(f"Here are the first {len(table.rows)} only. A query of the database finds the others.")
        yield from row_blocks([column.name for column in table.columns], table.rows)


def _column(column: Column) -> Block:
    facts = [fact for fact in (column.type, "primary key" if column.is_key else "") if fact]
    target = f", refers to {column.target}" if column.target else ""
    return _item(f"{column.name}{' ' if facts else ''}{', '.join(facts)}{target}")


def _size(table: TableOutline) -> str:
    if table.fault is not None:
        return "rows that cannot be read"
    return "too many rows to count" if table.row_count is None else _counted(table.row_count, "row")


def _item(text: str) -> Block:
    return Block(kind="item", text=f"- {' '.join(text.split())}")


def _text(text: str) -> Block:
    return Block(kind="text", text=" ".join(text.split()))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
