"""The tools of a request: those that the server has, by OpenAI's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject, ToolAllowance

from thinkpool_server.errors import InvalidField, UnsupportedField
from thinkpool_server.response_requests.schemas import CodeInterpreter, FileSearch, Mcp, McpToolNames, Tool, WebSearch
from thinkpool_server.service_statistics import ToolFigures

LOCAL_STORE = "local"
"""What the local documents are called where OpenAI has vector stores."""

WEB = ("web_search", "read_page")
FILES = ("search_documents", "read_document", "query_documents")
CODE = (
    "run_python",
    "run_command",
    "create_sandbox",
    "upload_file_from_local_to_sandbox",
    "download_file_from_sandbox_to_local",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableTools:
    """What the server has."""

    has_web: bool
    has_code: bool
    mcp_servers: Sequence[str]

    @classmethod
    def of(cls, figures: ToolFigures) -> "AvailableTools":
        """As its figures say; a web that cannot be reached just now counts, since it may come back."""
        return cls(
            has_web=WEB[0] in figures.offered or WEB[0] in figures.missing,
            has_code=CODE[0] in figures.offered,
            mcp_servers=tuple(server.name for server in figures.mcp_servers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTools:
    """What a request says of tools."""

    allowance: ToolAllowance | None
    echo: list[JsonValue]
    """The tools as the response gives them back."""


def asked_tools(tools: Sequence[Tool] | None, choice: str | None, available: AvailableTools) -> AskedTools:
    """The tools that the run may use: those of the request, or all where it says nothing.

    Raises:
        UnsupportedField: the server has not what is asked for.
        InvalidField: a tool is to be used, and there is none.

    """
    names: list[str] = []
    servers: dict[str, tuple[str, ...] | None] = {}
    echo: list[JsonValue] = []
    for number, tool in enumerate(tools or ()):
        place = f"tools.{number}"
        match tool:
            case WebSearch():
                names += _web(tool, place, available)
                echo.append({"type": tool.type, "search_context_size": "medium", "user_location": None})
            case FileSearch():
                names += _files(tool, place)
                echo.append({"type": tool.type, "vector_store_ids": [LOCAL_STORE]})
            case CodeInterpreter():
                names += _code(place, available)
                echo.append({"type": tool.type, "container": {"type": "auto"}})
            case Mcp():
                allowed = _mcp(tool, place, available)
                servers[tool.server_label] = _both(servers, tool.server_label, allowed)
                echo.append(_mcp_echo(tool, allowed))
    if choice == "none":
        return AskedTools(allowance=ToolAllowance(), echo=echo)
    if tools is None:
        return AskedTools(allowance=None, echo=echo)
    if choice == "required" and not tools:
        raise InvalidField("tool_choice", "There is no tool that could be required.")
    allowance = ToolAllowance(names=tuple(dict.fromkeys(names)), servers=servers)
    return AskedTools(allowance=allowance, echo=echo)


def _web(tool: WebSearch, place: str, available: AvailableTools) -> tuple[str, ...]:
    if not available.has_web:
        raise UnsupportedField(place, "This server does not search the web.")
    return WEB


def _files(tool: FileSearch, place: str) -> tuple[str, ...]:
    if any(store != LOCAL_STORE for store in tool.vector_store_ids or ()):
        message = f"There is no such store; the server's own documents are {LOCAL_STORE!r}."
        raise UnsupportedField(f"{place}.vector_store_ids", message)
    return FILES


def _code(place: str, available: AvailableTools) -> tuple[str, ...]:
    if not available.has_code:
        raise UnsupportedField(place, "This server does not run code.")
    return CODE


def _mcp(tool: Mcp, place: str, available: AvailableTools) -> tuple[str, ...] | None:
    if tool.server_url is not None:
        message = "The MCP servers are the operator's: name one of them by its server_label, without server_url."
        raise UnsupportedField(f"{place}.server_url", message)
    if tool.server_label not in available.mcp_servers:
        there = ", ".join(available.mcp_servers) or "none"
        raise UnsupportedField(f"{place}.server_label", f"There is no such MCP server; there is: {there}.")
    allowed = tool.allowed_tools
    names = allowed.tool_names if isinstance(allowed, McpToolNames) else allowed
    return None if names is None else tuple(names)


def _both(
    servers: Mapping[str, tuple[str, ...] | None], label: str, allowed: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """What a server that is named again may do: what either says."""
    before = servers.get(label, ())
    return None if before is None or allowed is None else (*before, *allowed)


def _mcp_echo(tool: Mcp, allowed: tuple[str, ...] | None) -> JsonObject:
    names: JsonValue = None if allowed is None else list[JsonValue](allowed)
    return {"type": "mcp", "server_label": tool.server_label, "allowed_tools": names, "require_approval": "never"}
