"""A run's tools where its question allows some of them only."""

from collections.abc import Sequence

from thinkpool_pipeline.errors import UnknownTool
from thinkpool_pipeline.protocols import CallContext, ToolManager
from thinkpool_pipeline.values import RunId, ToolAllowance, ToolCall, ToolOutput, ToolSpec


class AllowedTools:
    """A `ToolManager` that knows those tools of another one that are allowed, and no others."""

    def __init__(self, tools: ToolManager, allowance: ToolAllowance) -> None:
        self._tools = tools
        self._allowance = allowance

    def __repr__(self) -> str:
        return f"<AllowedTools [{', '.join(spec.name for spec in self.specs())}] of {self._tools!r}>"

    def specs(self) -> Sequence[ToolSpec]:
        """The allowed tools on offer now, in the order of the others."""
        return tuple(spec for spec in self._tools.specs() if self._allowance.allows(spec))

    async def call(self, call: ToolCall, context: CallContext) -> ToolOutput:
        """The output of one call.

        Raises:
            ToolError: as the tools do; `UnknownTool` for a tool that is not allowed.

        """
        names = [spec.name for spec in self.specs()]
        if call.name not in names:
            raise UnknownTool(f"There is no tool of that name. Hint: the tools are: {', '.join(names) or 'none'}.")
        return await self._tools.call(call, context)

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Lets go of what the run held."""
        await self._tools.release(run_id, is_resumed=is_resumed)

    async def is_healthy(self) -> bool:
        """Whether the tools are."""
        return await self._tools.is_healthy()

    async def aclose(self) -> None:
        """Closes the tools."""
        await self._tools.aclose()
