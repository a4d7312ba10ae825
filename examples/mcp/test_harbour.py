import asyncio
import os
import sys
from pathlib import Path

from thinkpool_pipeline.outward import open_outward
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.tools.mcp import McpHub, load_mcp_servers

HERE = Path(__file__).parent


async def test_its_tools_are_offered_under_its_name_but_for_the_denied_one():
    variables = os.environ | {"PYTHON": sys.executable, "EXAMPLES": str(HERE.parent)}
    servers = load_mcp_servers(HERE / "mcp.json", variables)

    async with asyncio.timeout(30), open_outward() as outward, McpHub(servers, outward.upstream("mcp")) as hub:
        toolkit = hub.open_toolkit()
        await toolkit.settle(20)
        (tide,) = toolkit.tools()
        output = await check_tool(tide, {"hour": 3})

    assert tide.spec.name == "harbour__tide_at"
    assert output.passages[0].text == "At 3:00 the tide stands at 2.0 metres."
