"""An MCP server over standard streams: what a harbour office would tell, and one thing that no model should do."""

from mcp.server import MCPServer

server = MCPServer("harbour")


@server.tool()
def tide_at(hour: int) -> str:
    """Tells the height of the tide at an hour of today, 0 to 23."""
    height = abs(12 - (hour % 12) * 2) / 3
    return f"At {hour}:00 the tide stands at {height:.1f} metres."


@server.tool()
def close_harbour() -> str:
    """Closes the harbour."""
    return "The harbour is closed."


if __name__ == "__main__":
    server.run()
