"""An MCP server that misbehaves as it is told: over standard streams, or over HTTP on 127.0.0.1.

```
python -m thinkpool_pipeline.testing.mcp_server                     # stdio
python -m thinkpool_pipeline.testing.mcp_server --http --port 0     # its first line of output is its URL
```
What is wrong with the whole server is an option (`Habits`); what is wrong with one call is a tool (`Tools`). It speaks
the protocol by hand, so that it can break it, and starts in a fraction of the time that an SDK takes.

Source: https://modelcontextprotocol.io/specification/2025-06-18/basic
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

Json: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[Json], None]

PROTOCOL_VERSION = "2025-06-18"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""

INCONSIDERATE = frozenset({"hang"})
"""Tools that do not care that their caller has left."""

_CHILD = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = open(sys.argv[1], "w")
while True:
    signal.pause()
"""
_METHOD_NOT_FOUND = -32_601
_INVALID_PARAMS = -32_602
_READ_ONLY = {"readOnlyHint": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What is wrong with the server as a whole; each is an option of the command line."""

    deaf: bool = False
    """Never answers `initialize`."""
    mute: bool = False
    """Never answers `ping`."""
    touchy: bool = False
    """Dies of a request before `initialize`, as of the newer protocol's `server/discover`."""
    stubborn: bool = False
    """Lives on when its input ends, and when it is asked to end."""
    noisy: bool = False
    """Writes a line that is no message before each message."""
    odd: bool = False
    """Lists tools whose schemas and fields are broken."""
    page_size: int = 0
    """Tools on one page of the list; 0 for all."""
    start_after: str = ""
    """A named pipe: the server starts once somebody has written to it."""
    journal: str = ""
    """A file that gets a line for each message that comes in."""


class McpTestServer:
    """The protocol, whatever carries it."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self.tools = Tools(self)
        self.seen: Counter[str] = Counter()
        """Methods of messages, and names of tools, that came in so far."""
        self.happened = asyncio.Condition()
        self.announce: Send = lambda _: None
        """Sends what belongs to no request."""
        self._group = asyncio.TaskGroup()
        self._calls: dict[object, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call in self._calls.values():
            call.cancel()
        await self._group.__aexit__(kind, error, trace)

    def take(self, message: Json, send: Send) -> None:
        """Answers a message, now or later."""
        method = message.get("method", "")
        params = message.get("params", {})
        self._note(method, params)
        if method == "notifications/cancelled":
            task = self._calls.get(params.get("requestId"))
            if task is not None and task.get_name() not in INCONSIDERATE:
                task.cancel()
        elif "id" in message:
            task = self._group.create_task(self._answer(message, send), name=params.get("name", method))
            self._calls[message["id"]] = task
            task.add_done_callback(lambda _: self._calls.pop(message["id"], None))

    async def until_seen(self, name: str, count: int) -> None:
        """Returns when so many messages of this method, or calls of this tool, have come in."""
        async with self.happened:
            await self.happened.wait_for(lambda: self.seen[name] >= count)

    def _note(self, method: str, params: Json) -> None:
        name = params.get("name", "") if method == "tools/call" else ""
        self.seen.update(filter(None, (method, name)))
        if self.habits.journal:
            with Path(self.habits.journal).open("a") as journal:
                journal.write(f"{method} {name}".strip() + "\n")

    async def _answer(self, message: Json, send: Send) -> None:
        async with self.happened:
            self.happened.notify_all()
        result = await self._result(message, send)
        kind = "error" if "code" in result else "result"
        send({"jsonrpc": "2.0", "id": message["id"], kind: result})

    async def _result(self, message: Json, send: Send) -> Json:
        method, params = message["method"], message.get("params", {})
        if method == "initialize":
            if self.habits.deaf:
                await asyncio.Event().wait()
            return _introduction()
        if method == "ping":
            if self.habits.mute:
                await asyncio.Event().wait()
            return {}
        if method == "tools/list":
            return self._page(int(params.get("cursor", 0)))
        if method == "tools/call":
            return await self.tools.call(params, send)
        if self.habits.touchy and not self.seen["initialize"]:
            os._exit(3)
        return {"code": _METHOD_NOT_FOUND, "message": f"no method {method}"}

    def _page(self, start: int) -> Json:
        listed = self.tools.listed()
        end = start + (self.habits.page_size or len(listed))
        page: Json = {"tools": listed[start:end]}
        if end < len(listed):
            page["nextCursor"] = str(end)
        return page


class Tools:
    """What can be called; each method is a tool of its name."""

    def __init__(self, server: McpTestServer) -> None:
        self._server = server
        self._meeting = 0
        self._extra: list[str] = []

    def listed(self) -> list[object]:
        """As `tools/list` has them."""
        names = [name for name in vars(Tools) if name.startswith("do_")]
        listed: list[object] = [_listed(name.removeprefix("do_")) for name in [*names, *self._extra]]
        return [*_odd_tools(), *listed] if self._server.habits.odd else listed

    async def call(self, params: Json, send: Send) -> Json:
        """The result, or the error, of one call."""
        tool = getattr(self, f"do_{params.get('name')}", None)
        if tool is None:
            return {"code": _METHOD_NOT_FOUND, "message": "no such tool"}
        token = params.get("_meta", {}).get("progressToken")

        def report(progress: int, total: int, message: str) -> None:
            value = {"progressToken": token, "progress": progress, "total": total, "message": message}
            send({"jsonrpc": "2.0", "method": "notifications/progress", "params": value})

        return await tool(params.get("arguments", {}), report)

    async def do_echo(self, given: Json, _: object) -> Json:
        """The text, as it came."""
        return _text(given.get("text", ""))

    async def do_look(self, given: Json, _: object) -> Json:
        """The same, and says that it changes nothing."""
        return _text(given.get("text", ""))

    async def do_wait(self, given: Json, _: object) -> Json:
        """Takes its time."""
        await asyncio.sleep(float(given.get("seconds", 0)))
        return _text("waited")

    async def do_meet(self, given: Json, _: object) -> Json:
        """Answers once as many calls of it are there as it is told to wait for."""
        await self._server.until_seen("meet", int(given["parties"]))
        return _text("met")

    async def do_until_seen(self, given: Json, _: object) -> Json:
        """Answers once a message of this method, or a call of this tool, has come in."""
        await self._server.until_seen(given["name"], int(given.get("count", 1)))
        return _text("seen")

    async def do_hang(self, _given: Json, _: object) -> Json:
        """Never answers."""
        await asyncio.Event().wait()
        raise AssertionError

    async def do_die(self, _given: Json, _: object) -> Json:
        """Ends the whole server."""
        os._exit(7)

    async def do_look_and_die_once(self, given: Json, _: object) -> Json:
        """Ends the whole server when the file is not there yet; says that it changes nothing."""
        if _is_first_visit(Path(given["file"])):
            os._exit(7)
        return _text("alive")

    async def do_fail(self, given: Json, _: object) -> Json:
        """Says that it failed."""
        return {**_text(given.get("text", "")), "isError": True}

    async def do_refuse(self, given: Json, _: object) -> Json:
        """An error of the protocol."""
        return {"code": int(given.get("code", _INVALID_PARAMS)), "message": given.get("text", "I will not")}

    async def do_huge(self, given: Json, _: object) -> Json:
        """So many characters."""
        return _text("x" * int(given["characters"]))

    async def do_structured(self, given: Json, _: object) -> Json:
        """No text, only structure; a list where the protocol wants an object, if it is told so."""
        value: object = [1, 2] if given.get("as_list") else {"answer": 42}
        return {"content": [], "structuredContent": value}

    async def do_nothing(self, _given: Json, _: object) -> Json:
        """Nothing at all."""
        return {"content": []}

    async def do_senseless(self, _given: Json, _: object) -> Json:
        """A result that is none."""
        return {"resultType": "riddle"}

    async def do_gallery(self, _given: Json, _: object) -> Json:
        """A text, a picture, a sound, a link, two resources, and something unheard of."""
        blob = base64.b64encode(b"\0\1").decode()
        return {
            "content": [
                {"type": "text", "text": "A gallery."},
                {"type": "image", "data": PIXEL, "mimeType": "image/png"},
                {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
                {"type": "resource_link", "name": "notes", "uri": "file:///notes.txt", "description": "Notes."},
                {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "Words of a file."}},
                {"type": "resource", "resource": {"uri": "file:///b.bin", "blob": blob}},
                {"type": "smell", "data": "roses"},
            ]
        }

    async def do_progress(self, given: Json, report: Callable[[int, int, str], None]) -> Json:
        """Reports so many steps, then answers."""
        steps = int(given["steps"])
        for step in range(1, steps + 1):
            report(step, steps, f"step {step}")
        return _text("done")

    async def do_grow(self, given: Json, _: object) -> Json:
        """Another tool is there from now on, and everybody is told."""
        self._extra.append(given["name"])
        self._server.announce({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        return _text("grown")

    async def do_babble(self, given: Json, _: object) -> Json:
        """Writes so many characters to its standard output that are no message, as one line or as many."""
        line = "x" * 60 + ("" if given.get("is_one_line") else "\n")
        sys.stdout.write(line * (int(given["characters"]) // 60) + "\n")
        return _text("babbled")

    async def do_halves(self, _given: Json, _: object) -> Json:
        """A text that was cut in the middle of a character."""
        return _text("half a smile \ud83d")

    async def do_environment(self, _given: Json, _: object) -> Json:
        """What it sees of its environment, and who it is."""
        return _text(json.dumps({"names": sorted(os.environ), "pid": os.getpid(), "cwd": str(Path.cwd())}))

    async def do_have_child(self, given: Json, _: object) -> Json:
        """Starts a process that does not end by itself, and holds the named pipe open for as long as it lives."""
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", _CHILD, given["pipe"])
        return _text(str(child.pid))


def _text(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}]}


def _is_first_visit(marker: Path) -> bool:
    with marker.open("a+") as file:
        is_first = not file.tell()
        file.write("visited\n")
    return is_first


def _listed(name: str) -> Json:
    words: Json = {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object", "properties": {}}}
    return words | ({"annotations": _READ_ONLY} if name.startswith("look") else {})


def _odd_tools() -> list[object]:
    return [
        "no tool at all",
        {"description": "It has no name.", "inputSchema": {"type": "object"}},
        {"name": "no-schema"},
        {"name": "text-schema", "inputSchema": "object"},
        {"name": "array-schema", "inputSchema": {"type": "array"}, "annotations": "none", "title": 7},
        {"name": "broken schema", "inputSchema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}},
        {"name": "far/reference", "inputSchema": {"type": "object", "$ref": "http://169.254.169.254/schema"}},
        {"name": "endless", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}},
        {"name": "Bad Output", "inputSchema": {"type": "object"}, "outputSchema": {"type": "nonsense"}},
    ]


def _introduction() -> Json:
    return {
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {"tools": {"listChanged": True}},
        "serverInfo": {"name": "misbehaving", "version": "1"},
    }


async def serve_stdio(server: McpTestServer) -> None:
    """Serves until its input ends."""
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    def send(message: Json) -> None:
        if server.habits.noisy:
            sys.stdout.write("Listening on nothing in particular ...\n{\n")
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    server.announce = send
    async with server:
        while line := await reader.readline():
            server.take(json.loads(line), send)
        if server.habits.stubborn:
            await asyncio.Event().wait()


class _HttpServer:
    """Streamable HTTP, as little of it as will do: results of calls come as events, all else as JSON."""

    def __init__(self, server: McpTestServer) -> None:
        self._server = server
        self._sessions: set[str] = set()
        self._streams: set[asyncio.StreamWriter] = set()
        server.announce = self._announce

    async def serve(self, port: int) -> None:
        listener = await asyncio.start_server(self._converse, "127.0.0.1", port)
        sys.stdout.write(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        async with self._server:
            await listener.serve_forever()

    def _announce(self, message: Json) -> None:
        for stream in self._streams:
            stream.write(_event(message))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._reply(head[0].split(" ")[0], headers, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._streams.discard(writer)
            writer.close()

    async def _reply(self, method: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        message: Json = json.loads(body) if body else {}
        session = headers.get("mcp-session-id", "")
        if message.get("method") == "initialize":
            session = uuid.uuid4().hex
            self._sessions.add(session)
        elif message.get("method") != "server/discover" and session not in self._sessions:
            writer.write(_http(404, "text/plain", b"no such session"))
            return
        if method == "GET":
            self._streams.add(writer)
            writer.write(_http(200, "text/event-stream", None))
        elif method == "DELETE":
            self._sessions.discard(session)
            writer.write(_http(200, "text/plain", b""))
        elif "id" not in message:
            self._server.take(message, lambda _: None)
            writer.write(_http(202, "text/plain", b""))
        else:
            await self._reply_to_request(message, session, writer)

    async def _reply_to_request(self, message: Json, session: str, writer: asyncio.StreamWriter) -> None:
        is_call = message["method"] == "tools/call"
        answered = asyncio.Event()
        answer: list[Json] = []

        def send(sent: Json) -> None:
            if is_call:
                writer.write(_event(sent))
            else:
                answer.append(sent)
            if "id" in sent:
                answered.set()

        if is_call:
            writer.write(_http(200, "text/event-stream", None))
        self._server.take(message, send)
        await answered.wait()
        if is_call:
            writer.write(b"0\r\n\r\n")
        else:
            content = json.dumps(answer[0]).encode()
            writer.write(_http(200, "application/json", content, f"mcp-session-id: {session}\r\n"))


def _http(status: int, content_type: str, body: bytes | None, more: str = "") -> bytes:
    size = "transfer-encoding: chunked" if body is None else f"content-length: {len(body)}"
    return f"HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\n{more}{size}\r\n\r\n".encode() + (
        body or b""
    )


def _event(message: Json) -> bytes:
    data = b"data: " + json.dumps(message).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def main() -> None:
    """Runs the server that the command line describes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    for habit in fields(Habits):
        option = f"--{habit.name.replace('_', '-')}"
        if isinstance(habit.default, bool):
            parser.add_argument(option, action="store_true")
        else:
            parser.add_argument(option, type=int if habit.name == "page_size" else str, default=habit.default)
    given = vars(parser.parse_args())
    habits = Habits(**{habit.name: given[habit.name] for habit in fields(Habits)})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts tests in the background has it ignored
    if habits.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if habits.start_after:
        Path(habits.start_after).read_bytes()
    server = McpTestServer(habits)
    with suppress(KeyboardInterrupt):
        asyncio.run(_HttpServer(server).serve(given["port"]) if given["http"] else serve_stdio(server))


if __name__ == "__main__":
    main()
