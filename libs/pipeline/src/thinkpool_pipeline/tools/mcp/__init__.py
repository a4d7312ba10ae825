"""Tools of MCP servers."""

from thinkpool_pipeline.tools.mcp.config import McpServer, load_mcp_servers
from thinkpool_pipeline.tools.mcp.results import ResultLimits
from thinkpool_pipeline.tools.mcp.sessions import SessionSettings
from thinkpool_pipeline.tools.mcp.toolkit import McpHub, McpServerStatus, McpSettings, McpToolkit

__all__ = [
    "McpHub",
    "McpServer",
    "McpServerStatus",
    "McpSettings",
    "McpToolkit",
    "ResultLimits",
    "SessionSettings",
    "load_mcp_servers",
]
