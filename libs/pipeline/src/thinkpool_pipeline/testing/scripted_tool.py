"""A tool that gives what it was told to give, counts its calls, and can be held or made to fail."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from thinkpool_pipeline.errors import ToolError
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.scripted_model import Gate
from thinkpool_pipeline.values import JsonObject, Passage, ToolOutput, ToolSpec

ToolScript: TypeAlias = ToolOutput | ToolError | Callable[[Mapping[str, object]], ToolOutput | Awaitable[ToolOutput]]
"""An output, an error, or what makes an output of the arguments."""

_QUERY: JsonObject = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "page": {"type": "integer", "minimum": 1, "default": 1},
    },
    "required": ["query"],
    "additionalProperties": False,
}


class ScriptedTool:
    """Implements `Tool`. Unless told otherwise it takes a query and a page, and finds one passage for each."""

    def __init__(
        self,
        name: str = "search",
        script: ToolScript | None = None,
        *,
        parameters: JsonObject | None = None,
        is_parallel_safe: bool = True,
        gate: Gate | None = None,
    ) -> None:
        self._spec = ToolSpec(
            name=name,
            description=f"The tool {name}.",
            parameters=parameters or _QUERY,
            is_parallel_safe=is_parallel_safe,
        )
        self._script = script or passage_for_query
        self._gate = gate
        self.calls: list[tuple[str, dict[str, object]]] = []
        """The step and the arguments of each call, oldest first."""
        self.at_once = 0
        """How many calls are on their way."""
        self.most_at_once = 0

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def __call__(self, arguments: dict[str, object], context: CallContext) -> ToolOutput:
        """The scripted output.

        Raises:
            ToolError: where the script says so.

        """
        self.calls.append((context.step, arguments))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            context.report_progress(f"{self._spec.name} is at work")
            if self._gate:
                await self._gate.pass_through()
            return await self._output(arguments)
        finally:
            self.at_once -= 1

    async def _output(self, arguments: dict[str, object]) -> ToolOutput:
        script = self._script
        if isinstance(script, ToolError):
            raise script
        output = script if isinstance(script, ToolOutput) else script(arguments)
        return output if isinstance(output, ToolOutput) else await output


def passage_for_query(arguments: Mapping[str, object]) -> ToolOutput:
    """One passage of a document that is named after the query and the page."""
    name = f"{arguments['query']}-{arguments['page']}".replace(" ", "-")
    text = f"The answer to {arguments['query']} is on page {arguments['page']}. Nothing else is known of it."
    url = f"https://example.org/{name}"
    return ToolOutput(passages=(Passage(document=url, title=f"About {name}", text=text, url=url),), summary="1 passage")
