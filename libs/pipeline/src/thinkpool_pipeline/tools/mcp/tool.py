"""One tool of a server, as the agent's tool."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from thinkpool_pipeline.errors import InvalidArguments, ToolError, UnknownTool
from thinkpool_pipeline.outward import OutwardError
from thinkpool_pipeline.protocols import CallContext, Clock, JsonArguments
from thinkpool_pipeline.tools.mcp.failures import Refusal
from thinkpool_pipeline.tools.mcp.listing import RemoteTool
from thinkpool_pipeline.tools.mcp.results import Origin, ResultLimits, error_text, one_line, tool_output
from thinkpool_pipeline.tools.mcp.sessions import McpSession
from thinkpool_pipeline.tools.service_errors import tool_error
from thinkpool_pipeline.values import JsonObject, ToolOutput, ToolSpec

T = TypeVar("T")

PROGRESS_SECONDS = 0.5
"""A server may report its progress as often as it likes; people are told no more often than this."""
_INVALID_PARAMS = -32_602
_METHOD_NOT_FOUND = -32_601


class Carrier(Protocol):
    """Carries calls out of the house, within the limits for them; `outward.Upstream` is one."""

    async def carry(self, attempt: Callable[[], Awaitable[T]], *, total_seconds: float) -> T:
        """What the attempt gives, tried again where its error allows.

        Raises:
            OutwardError: as the last attempt did, or at the deadline.

        """
        ...


class McpTool:
    """Calls one tool of a server over one session."""

    def __init__(
        self,
        name: str,
        tool: RemoteTool,
        session: McpSession,
        carrier: Carrier,
        *,
        limits: ResultLimits,
        patience_seconds: float,
        clock: Clock,
    ) -> None:
        self._tool = tool
        self._session = session
        self._carrier = carrier
        self._limits = limits
        self._patience_seconds = patience_seconds
        self._clock = clock
        server = session.server
        self._spec = ToolSpec(
            name=name,
            description=tool.description or f"The tool {tool.name} of the MCP server {server.name}.",
            parameters=tool.parameters,
            is_outward=not server.is_trusted,
            server=server.name,
            remote_name=tool.name,
        )

    def __repr__(self) -> str:
        return f"<McpTool {self._spec.name} of {self._session!r}>"

    @property
    def spec(self) -> ToolSpec:
        """What the model is told; the words are the server's."""
        return self._spec

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """The server's answer, as a passage that can be cited.

        Raises:
            UnknownTool: the operator does not let this tool be called.
            InvalidArguments: the server says so, or no JSON can carry them.
            ToolTimeout: the server did not answer in time.
            ToolUnavailable: the server cannot be reached, or broke off.
            ToolError: the server says that the tool failed, or refuses the call.

        """
        server = self._session.server
        if not server.allows(self._tool.name):
            raise UnknownTool("The operator does not let this tool be called.")
        sent = _sendable(arguments)
        reports = _ProgressReports(context.report_progress, self._clock)

        async def attempt() -> JsonObject | Refusal:
            return await self._session.call(self._tool, sent, reports.hear, timeout_seconds=server.timeout_seconds)

        try:
            total_seconds = server.timeout_seconds + self._patience_seconds
            answer = await self._carrier.carry(attempt, total_seconds=total_seconds)
        except OutwardError as error:
            raise tool_error(f"The MCP server {server.name}", error) from error
        finally:
            reports.is_over = True
        if isinstance(answer, Refusal):
            raise self._refused(answer)
        return self._output(answer, context)

    def _output(self, answer: JsonObject, context: CallContext) -> ToolOutput:
        server = self._session.server
        complaint = error_text(answer)
        if complaint is not None:
            raise ToolError(f"The MCP server {server.name} says that the tool failed: {complaint}")
        origin = Origin(server=server.name, tool=self._tool, step=context.step, is_trusted=server.is_trusted)
        return tool_output(answer, origin, self._limits)

    def _refused(self, refusal: Refusal) -> ToolError:
        kinds = {_INVALID_PARAMS: InvalidArguments, _METHOD_NOT_FOUND: UnknownTool}
        kind = kinds.get(refusal.code, ToolError)
        return kind(f"The MCP server {self._session.server.name} refuses the call: {refusal.text}")


def _sendable(arguments: JsonArguments) -> JsonObject:
    try:
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # infinity, or half of a surrogate pair, either of which a model can write
        raise InvalidArguments("The arguments hold something that JSON cannot carry.") from None
    return cast("JsonObject", arguments)


@dataclass(slots=True)
class _ProgressReports:
    report: Callable[[str], None]
    clock: Clock
    is_over: bool = False
    _next_at: float = field(default=float("-inf"))

    def hear(self, progress: float, total: float | None, words: str) -> None:
        now = self.clock()
        if self.is_over or now < self._next_at:
            return
        self._next_at = now + PROGRESS_SECONDS
        amount = f"{progress:g} of {total:g}" if total else f"{progress:g}"
        self.report(f"{amount}: {one_line(words)}" if words else amount)
