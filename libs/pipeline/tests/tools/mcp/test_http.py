import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from thinkpool_pipeline.errors import ToolError
from thinkpool_pipeline.outward import Timing
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, Play, answer, silence, stream
from thinkpool_pipeline.testing.mcp_process import (
    PATIENCE_SECONDS,
    HttpServerProcess,
    Naps,
    ask,
    opened_toolkit,
)
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpToolkit

OpenHub = Callable[..., Awaitable[McpHub]]
SECRET = "sk-very-secret"


class Scripted:
    """A server at a URL that does what a test says for each tool it calls, and the rest by the book."""

    def __init__(self, *, listing: Play | None = None, capabilities: object = None, **tools: Play) -> None:
        self.tools = tools
        self.listing = listing
        self.capabilities = {"tools": {}} if capabilities is None else capabilities
        self.calls: list[str] = []
        self.methods: list[str] = []
        self.is_forgetful = False

    async def __call__(self, exchange: Exchange) -> bool:
        message: dict[str, Any] = json.loads(exchange.request.body or b"{}")
        method = message.get("method", exchange.request.method)
        self.methods.append(method)
        if method == "initialize":
            about = {
                "protocolVersion": "2025-06-18",
                "capabilities": self.capabilities,
                "serverInfo": {"name": "s", "version": "1"},
            }
            return await answer(result(message, about), headers={"mcp-session-id": "s-1"})(exchange)
        if method == "tools/list" and self.listing is not None:
            return await self.listing(exchange)
        if method == "tools/list":
            listed = [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]
            return await answer(result(message, {"tools": listed}))(exchange)
        if method == "tools/call":
            self.calls.append(message["params"]["name"])
            return await self.tools[message["params"]["name"]](exchange)
        if method == "ping" and self.is_forgetful:
            return await answer(status=404)(exchange)
        if method == "ping":
            return await answer(result(message, {}))(exchange)
        if method == "GET":
            return await answer(status=405)(exchange)
        if "id" in message:
            return await answer(failed(message, -32601, "no such method"))(exchange)
        return await answer(status=202)(exchange)


def result(message: dict[str, Any], value: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value}).encode()


def failed(message: dict[str, Any], code: int, text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}).encode()


def says(text: str, *, encode: Callable[[bytes], bytes] = lambda data: data, status: int = 200, **headers: str) -> Play:
    """The words, as the result of a call."""

    async def play(exchange: Exchange) -> bool:
        body = result(json.loads(exchange.request.body), {"content": [{"type": "text", "text": text}]})
        return await answer(encode(body), status=status, headers=headers)(exchange)

    return play


async def reset(exchange: Exchange) -> bool:
    exchange.reset()
    return False


async def refuse(exchange: Exchange) -> bool:
    return await answer(failed(json.loads(exchange.request.body), -32602, "Not so."), status=400)(exchange)


def events(*events: bytes) -> Play:
    async def play(exchange: Exchange) -> bool:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        body = b"".join(b"data: " + event + b"\n\n" for event in events)
        await exchange.send(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        return True

    return play


async def call(toolkit: McpToolkit, name: str) -> str:
    """The words, or the error's."""
    try:
        return await ask(toolkit, name)
    except ToolError as error:
        return f"{error.code}: {error.message}"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (reset, "tool-unavailable: The MCP server far failed: The connection was lost (ReadError)."),
        (answer(b"no", status=500), "The connection was lost (status 500)."),
        (answer(b"<html>", status=403), "The connection was lost (status 403)."),
        (says("x", encode=gzip.compress, **{"content-encoding": "gzip"}), "(its reply is compressed)"),
        (says("x" * 200_000), "The reply is larger than 100000 bytes."),
        (answer(b"x" * 200_000, status=500), "The reply is larger than 100000 bytes."),
        (events(b'"' + b"x" * 200_000 + b'"'), "The connection was lost"),
        (events(), "The connection was lost"),
        (events(b"no json"), "tool-error: The MCP server far refuses the call"),
        (answer(b"no json"), "tool-error: The MCP server far refuses the call"),
        (answer(b"[" * 100_000), "tool-error: The MCP server far refuses the call"),
        (answer(b"hello", headers={"content-type": "text/html"}), "tool-error: The MCP server far refuses the call"),
        (answer(status=202), "tool-error: The MCP server far refuses the call"),
        (refuse, "invalid-arguments: The MCP server far refuses the call: Not so."),
        (says("half \ud83d"), "half ?"),
    ],
)
async def test_what_goes_wrong_with_a_reply_stays_with_its_call(open_hub: OpenHub, broken: Play, told: str) -> None:
    script = Scripted(broken=broken, fine=says("fine"))
    async with Loopback(script) as service:
        hub = await open_hub(McpServer(name="far", url=f"{service.url}/mcp"), max_message_bytes=100_000)
        toolkit = await opened_toolkit(hub)
        holding, release = asyncio.Event(), asyncio.Event()

        async def hold(exchange: Exchange) -> bool:
            holding.set()
            await release.wait()
            return await says("held")(exchange)

        script.tools["fine"] = hold
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            spared = group.create_task(call(toolkit, "fine"))
            await holding.wait()
            assert told in await call(toolkit, "broken")
            release.set()
            assert await spared == "held"
        assert await call(toolkit, "fine") == "held"
        assert script.methods.count("initialize") == 1
        assert hub.status()[0].losses == 0
        await toolkit.aclose()


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (answer(b"who are you?", status=401), "status 401"),
        (
            answer(b"moved", status=307, headers={"location": "http://127.0.0.1:1/other"}),
            "it redirects elsewhere",
        ),
        (reset, "ReadError"),
        (answer(b"{}"), "the server refuses a session"),
    ],
)
async def test_server_that_lets_nobody_in_is_told_of_without_its_address(
    open_hub: OpenHub, play: Play, reason: str
) -> None:
    async with Loopback(play) as service:
        server = McpServer(name="far", url=f"{service.url}/{SECRET}", headers={"authorization": SECRET})
        hub = await open_hub(server, timing=Timing(sleep=_rest))
        await opened_toolkit(hub)
        (status,) = hub.status()
        assert status.last_error.startswith(reason)
        assert SECRET not in repr(hub) + repr(status)
        assert service.url not in status.last_error
        assert service.received[0].headers["authorization"] == SECRET
        assert service.received[0].headers["accept-encoding"] == "identity"


async def _rest(_: float) -> None:
    await asyncio.Event().wait()


async def test_server_that_is_not_there_is_told_of(open_hub: OpenHub) -> None:
    hub = await open_hub(McpServer(name="far", url="http://127.0.0.1:1/mcp"), timing=Timing(sleep=_rest))
    await opened_toolkit(hub)
    assert hub.status()[0].last_error == "ConnectError"


@pytest.mark.parametrize("status", [301, 303, 307, 308])
async def test_redirect_to_another_host_is_not_followed_and_not_told(open_hub: OpenHub, status: int) -> None:
    async with Loopback(says("gotcha")) as other:
        away = answer(status=status, headers={"location": f"{other.url}/{SECRET}"})
        async with Loopback(Scripted(away=away)) as service:
            toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
            told = await call(toolkit, "away")
            assert "it redirects elsewhere" in told
            assert SECRET not in told
            await toolkit.aclose()
        assert other.received == []


async def test_certificates_are_read_for_a_secure_url(open_hub: OpenHub) -> None:
    hub = await open_hub(McpServer(name="far", url="https://127.0.0.1:1/mcp"), timing=Timing(sleep=_rest))
    await opened_toolkit(hub)
    assert hub.status()[0].last_error == "ConnectError"


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        (refuse, "The server does not list its tools (error -32602)."),
        (answer(b"[]"), "The server does not list its tools (error -32700)."),
        (says("x" * 200_000), "The reply is larger than 100000 bytes."),
    ],
)
async def test_server_that_does_not_list_its_tools_is_not_connected(
    open_hub: OpenHub, listing: Play, reason: str
) -> None:
    async with Loopback(Scripted(listing=listing)) as service:
        server = McpServer(name="far", url=f"{service.url}/mcp")
        hub = await open_hub(server, timing=Timing(sleep=_rest), max_message_bytes=100_000)
        await opened_toolkit(hub)
        assert hub.status()[0].last_error == reason


async def test_server_that_has_no_tools_is_connected_and_not_asked_for_them(open_hub: OpenHub) -> None:
    script = Scripted(capabilities={}, tool=says("x"))
    async with Loopback(script) as service:
        hub = await open_hub(McpServer(name="far", url=f"{service.url}/mcp"))
        toolkit = await opened_toolkit(hub)
        assert (hub.status()[0].sessions_open, toolkit.tools()) == (1, ())
        assert "tools/list" not in script.methods
        await toolkit.aclose()


async def test_list_that_points_to_itself_comes_to_an_end(open_hub: OpenHub) -> None:
    async def again(exchange: Exchange) -> bool:
        tools = [{"name": "one", "inputSchema": {"type": "object"}}]
        page = result(json.loads(exchange.request.body), {"tools": tools, "nextCursor": "same"})
        return await answer(page)(exchange)

    script = Scripted(listing=again)
    async with Loopback(script) as service:
        toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
        assert [tool.spec.name for tool in toolkit.tools()] == ["far__one"]
        assert script.methods.count("tools/list") == 2
        await toolkit.aclose()


async def test_redirect_to_another_path_is_followed(open_hub: OpenHub) -> None:
    script = Scripted(fine=says("fine"))

    async def play(exchange: Exchange) -> bool:
        if exchange.request.target == "/mcp":
            return await answer(status=307, headers={"location": "/mcp/"})(exchange)
        return await script(exchange)

    async with Loopback(play) as service:
        toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
        assert await call(toolkit, "fine") == "fine"
        await toolkit.aclose()


async def test_session_that_the_server_forgot_is_opened_again_and_the_call_made_in_it(open_hub: OpenHub) -> None:
    script = Scripted()

    async def forget_once(exchange: Exchange) -> bool:
        script.is_forgetful = script.methods.count("initialize") == 1
        return await (answer(b"gone", status=404) if script.is_forgetful else says("fine"))(exchange)

    script.tools["forget"] = forget_once
    async with Loopback(script) as service:
        hub = await open_hub(McpServer(name="far", url=f"{service.url}/mcp"))
        toolkit = await opened_toolkit(hub)
        assert await call(toolkit, "forget") == "fine"
        assert script.methods.count("initialize") == 2
        assert hub.status()[0].losses == 1
        await toolkit.aclose()


async def test_reason_of_the_loss_is_told_to_whoever_was_waiting(open_hub: OpenHub) -> None:
    async def hang(exchange: Exchange) -> bool:
        waiting.set()
        await exchange.until_client_leaves()

    waiting = asyncio.Event()
    script = Scripted(forget=answer(b"gone", status=404), hang=hang)
    script.is_forgetful = True
    async with Loopback(script) as service:
        toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            lost = group.create_task(call(toolkit, "hang"))
            await waiting.wait()
            assert "tool-unavailable" in await call(toolkit, "forget")
            assert "the server no longer knows the session" in await lost
        await toolkit.aclose()


async def test_reply_that_never_comes_holds_up_no_other(open_hub: OpenHub) -> None:
    async def hang(exchange: Exchange) -> bool:
        await exchange.until_client_leaves()

    script = Scripted(hang=hang, fine=says("fine"))
    async with Loopback(script) as service:
        server = McpServer(name="far", url=f"{service.url}/mcp", timeout_seconds=0.2)
        toolkit = await opened_toolkit(await open_hub(server))
        assert "tool-timeout" in await call(toolkit, "hang")
        assert await call(toolkit, "fine") == "fine"
        assert "notifications/cancelled" in script.methods
        await toolkit.aclose()


async def test_calls_use_one_connection_again(open_hub: OpenHub) -> None:
    async def play(exchange: Exchange) -> bool:
        body = result(json.loads(exchange.request.body), {"content": [{"type": "text", "text": "fine"}]})
        return await stream(b"data: " + body + b"\n\n")(exchange)

    async with Loopback(Scripted(fine=play)) as service:
        toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
        assert await call(toolkit, "fine") == "fine"
        connections = service.connections
        assert [await call(toolkit, "fine") for _ in range(10)] == ["fine"] * 10
        assert service.connections <= connections + 1
        await toolkit.aclose()


@pytest.mark.parametrize("more", [(), (b": more\n\n" * 1000,) * 1000], ids=["silence", "chatter"])
async def test_what_follows_the_answer_is_not_waited_for(open_hub: OpenHub, more: tuple[bytes, ...]) -> None:
    left = asyncio.Event()

    async def play(exchange: Exchange) -> bool:
        body = result(json.loads(exchange.request.body), {"content": [{"type": "text", "text": "fine"}]})
        try:
            return await silence(b"data: " + body + b"\n\n", *more)(exchange)
        finally:
            left.set()

    async with Loopback(Scripted(fine=play)) as service, asyncio.timeout(PATIENCE_SECONDS):
        toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
        assert await call(toolkit, "fine") == "fine"
        await left.wait()
        await toolkit.aclose()


async def test_session_is_said_farewell_to(open_hub: OpenHub) -> None:
    script = Scripted(fine=says("fine"))
    async with Loopback(script) as service:
        toolkit = await opened_toolkit(await open_hub(McpServer(name="far", url=f"{service.url}/mcp")))
        await toolkit.aclose()
        assert script.methods[-1] == "DELETE"
        assert service.received[-1].headers["mcp-session-id"] == "s-1"


async def test_server_that_takes_no_farewell_is_left_all_the_same(open_hub: OpenHub) -> None:
    script = Scripted(fine=says("fine"))

    async def play(exchange: Exchange) -> bool:
        if exchange.request.method == "DELETE":
            await exchange.until_client_leaves()
        return await script(exchange)

    async with Loopback(play) as service, asyncio.timeout(PATIENCE_SECONDS):
        toolkit = await opened_toolkit(
            await open_hub(McpServer(name="far", url=f"{service.url}/mcp"), close_seconds=0.1)
        )
        await toolkit.aclose()
        await service.left.wait()


async def test_death_over_http_is_noticed_while_idle(open_hub: OpenHub) -> None:
    naps = Naps()
    async with HttpServerProcess() as far:
        hub = await open_hub(far.server(), ping_seconds=0.05, timing=Timing(sleep=naps.sleep))
        await opened_toolkit(hub)
        await far.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await naps.until(2)
        assert hub.status()[0].last_error == "ConnectError"
