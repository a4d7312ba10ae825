"""A tool of one's own: how many days lie between two dates, which language models like to guess."""

from datetime import date

from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.values import Passage, ToolOutput, ToolSpec


class DaysBetween:
    """The tool `days_between`."""

    spec = ToolSpec(
        name="days_between",
        description="Counts the days from one date to another.",
        parameters={
            "type": "object",
            "properties": {
                "start": {"type": "string", "description": "Such as 1969-07-16."},
                "end": {"type": "string", "description": "Such as 1969-07-24."},
            },
            "required": ["start", "end"],
            "additionalProperties": False,
        },
    )

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """The count, as a passage: so it gets a number and the report can cite it.

        Raises:
            InvalidArguments: one of the dates is none.

        """
        try:
            start, end = (date.fromisoformat(str(arguments[name])) for name in ("start", "end"))
        except ValueError as error:
            raise InvalidArguments("Both dates should look like 1969-07-16.") from error
        days = (end - start).days
        words = f"From {start} to {end} it is {days} days."
        passage = Passage(document=f"days-between:{start}:{end}", title="A count of days", text=words, is_own_work=True)
        return ToolOutput(passages=(passage,), summary=f"{days} days")
