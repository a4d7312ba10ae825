"""A well-behaved server, made with the SDK: it speaks the newest protocol, over standard streams or with `--http`."""

import asyncio
import socket
import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("sdk", log_level="ERROR")


@server.tool()
async def add(first: int, second: int = 1) -> int:
    """The sum."""
    return first + second


@server.tool()
async def grow(ctx: Context) -> str:
    """Another tool is there from now on."""

    def fruit() -> str:
        """Was not there before."""
        return "ripe"

    server.add_tool(fruit)
    await ctx.notify_tools_changed()
    return "grown"


@server.tool()
async def wait(ctx: Context) -> str:
    """Reports a step, then waits for ever."""
    await ctx.report_progress(1, 2, "first step")
    await asyncio.Event().wait()
    return ""


@server.tool()
async def fail() -> str:
    """Fails."""
    raise ToolError("no luck")


def main() -> None:
    if "--http" not in sys.argv:
        server.run("stdio")
        return
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
    sys.stdout.flush()
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
