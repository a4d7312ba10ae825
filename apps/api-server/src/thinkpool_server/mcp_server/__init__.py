"""The server as an MCP server: its tools, over HTTP at `/mcp` and over stdio."""

from thinkpool_server.mcp_server.endpoint import McpEndpoint
from thinkpool_server.mcp_server.tools import Caller, McpTools

__all__ = ["Caller", "McpEndpoint", "McpTools"]
