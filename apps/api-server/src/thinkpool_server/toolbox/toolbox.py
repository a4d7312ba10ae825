"""All tools of a deployment: opened once, handed to each pipeline as a tool manager of its own, and reported on."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.outward import Outward, UpstreamSettings
from thinkpool_pipeline.parsing import DocumentParser
from thinkpool_pipeline.protocols import Toolkit
from thinkpool_pipeline.tools.documents import DocumentsToolkit
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.tools.mcp import McpHub, load_mcp_servers
from thinkpool_pipeline.tools.run_code import CodeSettings, CodeToolkit
from thinkpool_pipeline.values import RunId

from thinkpool_server.extensions import make_extra_tools
from thinkpool_server.service_statistics import McpServerFigures, ToolFigures
from thinkpool_server.settings import Settings
from thinkpool_server.toolbox.code import CodePlace, open_code_place
from thinkpool_server.toolbox.web import WebToolkit, open_web_toolkit

MCP_FILE = Path("mcp.json")
"""Read from the working directory where `MCP_CONFIG` does not say another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """What the pipelines of a process share of their tools."""

    settings: Settings
    knowledge: KnowledgeBase
    parser: DocumentParser
    web: WebToolkit
    code: CodePlace
    mcp: McpHub

    def open_manager(self) -> LocalToolManager:
        """A pipeline's tools; its sessions with MCP servers begin to open now. Closed by the task that opens it."""
        return LocalToolManager(
            make_extra_tools(self.settings.extra_tools),
            [*self._own_toolkits(), self.mcp.open_toolkit()],
            call_timeout_seconds=self.settings.tool_timeout_seconds,
        )

    async def settled(self) -> None:
        """Returns once it is known whether there is a web."""
        await self.web.settled()

    def tool_names(self) -> tuple[str, ...]:
        """The names of all tools that may be offered, those of MCP servers aside: a closed set."""
        documents, *kits = self._documents(), *self._code()
        tools = [*make_extra_tools(self.settings.extra_tools), *self.web.all_tools, *documents.all_tools]
        tools += [tool for kit in kits for tool in kit.tools()]
        return tuple(dict.fromkeys(tool.spec.name for tool in tools))

    def figures(self) -> ToolFigures:
        """What is offered now, and why something is not."""
        missing: dict[str, str] = {}
        if self.code.reason:
            missing["run_python"] = self.code.reason
        if self.web.reason:
            missing |= {tool.spec.name: self.web.reason for tool in self.web.all_tools}
        kits = [tool for kit in self._own_toolkits() for tool in kit.tools() if not tool.spec.is_xml_only]
        tools = [*make_extra_tools(self.settings.extra_tools), *kits]
        return ToolFigures(
            offered=tuple(tool.spec.name for tool in tools),
            missing=missing,
            sandbox=None if self.code.sandboxes is None else self.code.sandboxes.name,
            mcp_servers=tuple(
                McpServerFigures(
                    name=server.name,
                    transport=server.transport,
                    sessions_open=server.sessions_open,
                    sessions_expected=server.sessions_expected,
                    tools=server.tools,
                    losses=server.losses,
                    last_error=server.last_error,
                )
                for server in self.mcp.status()
            ),
        )

    async def sweep(self, unfinished: Callable[[], Awaitable[Collection[RunId]]]) -> None:
        """Ends sandboxes that no unfinished run can claim."""
        if self.code.sandboxes is not None:
            await self.code.sandboxes.sweep(unfinished)

    def _own_toolkits(self) -> list[Toolkit]:
        return [self.web, self._documents(), *self._code()]

    def _documents(self) -> DocumentsToolkit:
        return DocumentsToolkit(self.knowledge, self.parser)

    def _code(self) -> list[CodeToolkit]:
        if self.code.sandboxes is None:
            return []
        code = CodeSettings(
            timeout_seconds=self.settings.code_timeout_seconds, is_outward=self.code.sandboxes.name == "e2b"
        )
        return [CodeToolkit(self.code.sandboxes, code)]


@asynccontextmanager
async def open_toolbox(
    settings: Settings, outward: Outward, knowledge: KnowledgeBase, parser: DocumentParser, *, deployment: str
) -> AsyncGenerator[Toolbox]:
    """The tools that the settings ask for, as long as the block lasts. No server that is down delays it.

    Raises:
        ConfigurationError: the settings ask for what cannot be had here.

    """
    make_extra_tools(settings.extra_tools)
    if settings.mcp_config is not None and not settings.mcp_config.is_file():
        raise ConfigurationError("MCP_CONFIG should be a file that exists")
    path = settings.mcp_config or MCP_FILE
    servers = load_mcp_servers(path, os.environ) if settings.mcp_config or path.exists() else ()
    async with AsyncExitStack() as stack:
        yield Toolbox(
            settings=settings,
            knowledge=knowledge,
            parser=parser,
            web=await stack.enter_async_context(open_web_toolkit(settings, outward, parser)),
            code=await stack.enter_async_context(open_code_place(settings, outward, deployment)),
            mcp=await stack.enter_async_context(
                McpHub(servers, outward.upstream("mcp", UpstreamSettings(max_retries=2, has_breaker=False)))
            ),
        )
