"""Text that is not markup of the web: Markdown, JSON, tables of comma-separated values. Runs in a worker."""

import csv
import re
from collections.abc import Iterable
from contextlib import suppress

import orjson

from thinkpool_pipeline.parsing.documents import ParsedDocument

_FRONT_TITLE = re.compile(r"\A---[ \t]*\n(?:.*\n){0,50}?title:[ \t]*[\"']?(.{1,300}?)[\"']?[ \t]*\n")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.{1,300}?)[ \t#]*$", re.MULTILINE)
_DELIMITERS = ",;\t|"
_LEAST_COLUMNS = 2


def read_markdown(text: str) -> ParsedDocument:
    """Markdown as it is, under the title of its front matter or its first heading."""
    text = text.replace("\r\n", "\n")
    named = _FRONT_TITLE.match(text) or _HEADING.search(text)
    return ParsedDocument(title=named.group(1) if named else "", text=text)


def read_json(text: str) -> ParsedDocument:
    """JSON with a line for each value; as it is where it is not JSON, or nested too deeply."""
    with suppress(ValueError, TypeError):  # of either: what can be read is not always written
        text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    return ParsedDocument(title="", text=text)


def read_csv(text: str) -> ParsedDocument:
    """The rows as a Markdown table, the first as its heading; as it is where it makes no table."""
    first_line = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if row]
    except csv.Error:
        return ParsedDocument(title="", text=text)
    if not rows or len(rows[0]) < _LEAST_COLUMNS:
        return ParsedDocument(title="", text=text)
    return ParsedDocument(title="", text="\n".join(table_lines(rows)))


def table_lines(rows: Iterable[list[str]]) -> Iterable[str]:
    """The lines of a Markdown table, the first row being its heading."""
    for number, row in enumerate(rows):
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
        if number == 0:
            yield "|" + " --- |" * len(row)
