"""The tool `query_documents`: asks a database among the local documents in SQL."""

import re
from pathlib import PurePosixPath

from thinkpool_pipeline.knowledge import KnowledgeBase, QueryResult
from thinkpool_pipeline.knowledge.tables import table_lines
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.values import Passage, ToolOutput, ToolSpec

_LONGEST_SQL = 10_000
_ADDRESS = re.compile(r"(https?:)(//\S+)", re.IGNORECASE)
_MOST_ADDRESSES = 50


class QueryDocuments:
    """The tool `query_documents`, for as long as there is a database."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self._knowledge = knowledge
        self._spec = ToolSpec(
            name="query_documents",
            description=(
                "Asks a database among the local documents in SQL, as SQLite speaks it: for sums, counts, joins, and "
                "rows that a search does not find. First read the database's document for its tables and columns."
            ),
            parameters={
                "type": "object",
                "properties": {
                    "database": {
                        "type": "string",
                        "minLength": 1,
                        "description": "The database's id, such as shop.db; its tables' ids begin with it.",
                    },
                    "sql": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": _LONGEST_SQL,
                        "description": "One SELECT statement. Of many rows only the first come back: use LIMIT.",
                    },
                },
                "required": ["database", "sql"],
                "additionalProperties": False,
            },
        )

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """The rows found, as a table that can be cited under the database's id.

        Raises:
            InvalidArguments: there is no such database, or SQLite does not take the statement.
            ToolUnavailable: the database cannot be read.

        """
        database = str(arguments["database"])
        found = await self._knowledge.query(database, str(arguments["sql"]))
        if not found.rows:
            columns = ", ".join(" ".join(column.split()) for column in found.columns)
            return ToolOutput(text=f"No row was found. The columns are: {columns}.", summary="no row", is_empty=True)
        text = await self._told(database, "\n".join(table_lines(found.columns, found.rows)))
        name = PurePosixPath(database).name
        return ToolOutput(
            text=_size(found),
            passages=(Passage(document=database, title=f"{name} (database)", text=text),),
            summary=f"{_size(found).rstrip('.')} of {name}",
        )

    async def _told(self, database: str, text: str) -> str:
        """The table without addresses that only the statement may have made up: a run may read what a source gave it.

        An address stays that the index has word for word; of any other the parts are moved away from each other.
        """
        known: set[str] = set()
        for address in list(dict.fromkeys(match.group() for match in _ADDRESS.finditer(text)))[:_MOST_ADDRESSES]:
            if await self._knowledge.has_said(database, address):
                known.add(address)
        return _ADDRESS.sub(lambda match: match[0] if match[0] in known else f"{match[1]} {match[2]}", text)


def _size(found: QueryResult) -> str:
    count = f"{len(found.rows)} row{'s' if len(found.rows) != 1 else ''}"
    return f"The first {count}: there are more." if found.is_cut else f"{count}."
