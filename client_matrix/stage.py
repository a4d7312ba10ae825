"""What stands around a script: it cuts its connections on demand, serves its page, and hears what the page tells."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from client_matrix.clients import SCRIPTS
from client_matrix.telling import Told

_PAGE = (
    '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
    '<div id="root"></div><script type="module" src="/scripts/{name}"></script>'
)


class Stage:
    """A small server on loopback, an origin of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.cut: Callable[[], None] = lambda: None
        """Breaks the script's connections to the server."""
        self._page = Path()
        self._told = Told()
        self._is_over = asyncio.Event()

    def serve(self, script: Path) -> None:
        """What the page loads; scripts that it imports lie in `scripts`."""
        self._page = script

    async def told(self) -> Told:
        """What the page has told, once it is done."""
        await self._is_over.wait()
        return self._told

    async def answer_page(self, _: web.Request) -> web.Response:
        """The page."""
        return web.Response(text=_PAGE.format(name=self._page.name), content_type="text/html")

    async def answer_script(self, request: web.Request) -> web.FileResponse:
        """One of its scripts."""
        name = request.match_info["name"]
        path = self._page if name == self._page.name else SCRIPTS / name
        return web.FileResponse(path, headers={"Content-Type": "text/javascript"})

    async def answer_cut(self, _: web.Request) -> web.Response:
        """Cuts."""
        self.cut()
        return web.Response()

    async def answer_told(self, request: web.Request) -> web.Response:
        """Takes a note of what the page tells."""
        said = await request.json()
        if "did" in said:
            self._told.take(said)
        else:
            self._told.fault = self._told.fault or said.get("fault", "")
            self._is_over.set()
        return web.Response()


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """A stage, at a free port."""
    stage = Stage()
    app = web.Application()
    app.add_routes(
        [
            web.get("/", stage.answer_page),
            web.get("/scripts/{name}", stage.answer_script),
            web.get("/cut", stage.answer_cut),
            web.post("/told", stage.answer_told),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        stage.url = f"http://{host}:{port}"
        yield stage
    finally:
        await runner.cleanup()
