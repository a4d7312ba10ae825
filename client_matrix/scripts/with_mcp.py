"""The MCP SDK's client, over streamable HTTP: research with its progress, its status, and documents."""

import asyncio

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from showing import KEY, URL, show

progress: list[float] = []


async def on_progress(done: float, _total: float | None, _words: str | None) -> None:
    """Takes a note of how far the research is."""
    progress.append(done)


async def main() -> None:
    """Calls every tool."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http_client,
        Client(streamable_http_client(f"{URL}/mcp", http_client=http_client)) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"research", "research_status", "search_documents", "read_document"}
        show("tools/list")

        question = {"query": "What is known of subject one?"}
        result = await client.call_tool("research", question, progress_callback=on_progress)
        answer = result.structured_content
        assert answer["citations"]
        assert progress == sorted(set(progress))
        assert len(progress) > 1
        show("research, with progress and citations", answer["report"])

        status = await client.call_tool("research_status", {"run_id": answer["run_id"]})
        show("research_status", status.structured_content["report"])

        found = await client.call_tool("search_documents", {"query": "How does a run survive a crash?"})
        passage = found.structured_content["passages"][0]
        document = await client.call_tool("read_document", {"id": passage["id"]})
        assert not document.is_error
        show("search_documents and read_document")


asyncio.run(main())
