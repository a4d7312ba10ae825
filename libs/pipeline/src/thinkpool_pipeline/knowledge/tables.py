"""Rows as text that can be read, searched and quoted: small Markdown tables, and long values in paragraphs."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from thinkpool_pipeline.knowledge.plain_text import Block

Row: TypeAlias = Sequence[str | None]
"""Values in the order of the columns; None for one that is missing."""

_MISSING = "NULL"
_FULL_CHARACTERS = 900
_FULL_ROWS = 25
_LONG_VALUE = 200
_LONG_ROW = 600
"""A row that is longer, or has a longer value, stands by itself, with a paragraph for each value."""
_PARAGRAPHS = re.compile(r"\n\s*\n")


def table_lines(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield _line(columns)
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield _line(row)


def row_blocks(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[Block]:
    """The rows in sections of about a passage each, under headings that number them from 1."""
    head = list(table_lines(columns, ()))
    gathered: list[str] = []
    number = 0
    for number, row in enumerate(rows, 1):
        line = _line(row)
        is_long = len(line) > _LONG_ROW or any(len(value or "") > _LONG_VALUE for value in row)
        if gathered and (is_long or _is_full(gathered, line)):
            yield from _section(head, gathered, number - 1)
            gathered = []
        if is_long:
            yield _heading(f"Row {number}")
            yield from _paragraphs(columns, row)
        else:
            gathered.append(line)
    if gathered:
        yield from _section(head, gathered, number)


def _is_full(lines: Sequence[str], following: str) -> bool:
    return len(lines) == _FULL_ROWS or sum(map(len, lines)) + len(following) > _FULL_CHARACTERS


def _section(head: Sequence[str], lines: Sequence[str], last: int) -> Iterator[Block]:
    first = last - len(lines) + 1
    yield _heading(f"Row {last}" if first == last else f"Rows {first} to {last}")
    yield Block(kind="table", text="\n".join((*head, *lines)))


def _paragraphs(columns: Sequence[str], row: Row) -> Iterator[Block]:
    for column, value in zip(columns, row, strict=True):
        texts = [" ".join(text.split()) for text in _PARAGRAPHS.split(value or "")]
        label = f"{_cell(column)}: "
        for text in filter(None, texts):
            yield Block(kind="text", text=label + text)
            label = ""


def _heading(text: str) -> Block:
    return Block(kind="heading", text=text, level=3)


def _line(values: Iterable[str | None]) -> str:
    return "| " + " | ".join(_MISSING if value is None else _cell(value) for value in values) + " |"


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")
