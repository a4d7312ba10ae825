"""Documents of other people's making to Markdown, in child processes that may come to harm.

The event loop only moves bytes: parsing happens in a few child processes with limits on memory, CPU time, files and
time. One that hangs, grows or dies takes its document with it and nothing else. Workers are started when they are
first needed, and stay.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import orjson

from thinkpool_pipeline.parsing.documents import ParsedDocument, Unparsable, document_kind
from thinkpool_pipeline.parsing.messages import Request
from thinkpool_pipeline.parsing.settings import ParserSettings
from thinkpool_pipeline.parsing.worker_process import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserStatistics:
    """A parser at one moment; the counts only grow."""

    workers: int
    """Child processes there are."""
    waiting: int
    """Documents that wait for one."""
    parsed: int
    failed: int
    """Documents that could not be read."""
    started: int
    """Workers ever started; above `workers`, by those that were replaced."""


class DocumentParser:
    """Parses documents. `open_parser` makes one a process."""

    def __init__(self, settings: ParserSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(settings.max_workers)
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._is_closed = False
        self._waiting = 0
        self._parsed = 0
        self._failed = 0
        self._started = 0

    def __repr__(self) -> str:
        busy = len(self._workers) - len(self._idle)
        return f"<DocumentParser [{busy} busy, {len(self._idle)} idle, {self._waiting} waiting]>"

    def statistics(self) -> ParserStatistics:
        """What it has done so far and how it stands."""
        return ParserStatistics(
            workers=len(self._workers),
            waiting=self._waiting,
            parsed=self._parsed,
            failed=self._failed,
            started=self._started,
        )

    async def parse(self, content: bytes, *, media_type: str = "", name: str = "", address: str = "") -> ParsedDocument:
        """What a document says.

        `media_type` is as HTTP gives it, with its `charset` if it has one; empty, the bytes and the ending of `name`
        decide. `address` is where a web page is from, for its links.

        Raises:
            Unparsable: it cannot be read as text, within the limits.

        """
        try:
            parsed = await self._parse(content, media_type=media_type, name=name, address=address)
        except Unparsable:
            self._failed += 1
            if self._is_closed:
                raise Unparsable("closed") from None
            raise
        self._parsed += 1
        return parsed

    def parse_from_thread(self, content: bytes, *, media_type: str = "", name: str = "") -> ParsedDocument:
        """As `parse`, for a thread that is not the event loop's; it waits for the loop, which must be running.

        Raises:
            Unparsable: it cannot be read as text, within the limits.

        """
        parsing = self.parse(content, media_type=media_type, name=name)
        return asyncio.run_coroutine_threadsafe(parsing, self._loop).result()

    async def aclose(self) -> None:
        """Ends every worker; documents that are being parsed are `Unparsable`. Idempotent."""
        self._is_closed = True
        for worker in self._workers:
            worker.kill()
        for _ in range(self._settings.max_workers):  # who was parsing has ended that worker once its slot is free
            await self._slots.acquire()
        self._idle.clear()
        for worker in list(self._workers):
            await self._end(worker)
        for _ in range(self._settings.max_workers):
            self._slots.release()

    async def _parse(self, content: bytes, *, media_type: str, name: str, address: str) -> ParsedDocument:
        kind = document_kind(media_type, name, content)
        if kind is None:
            raise Unparsable("unsupported")
        if len(content) > self._settings.max_input_bytes:
            raise Unparsable("too_large")
        request = Request(kind=kind, media_type=media_type, address=address)
        async with self._lent_worker() as worker:
            return await worker.parse(orjson.dumps(request), content)

    @asynccontextmanager
    async def _lent_worker(self) -> AsyncGenerator[Worker]:
        await self._wait_for_slot()
        try:
            if self._is_closed:
                raise Unparsable("closed")
            worker = await self._idle_worker() or await self._start()
            try:
                yield worker
            finally:
                await self._take_back(worker)
        finally:
            self._slots.release()

    async def _idle_worker(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_usable:
                return worker
            await self._end(worker)
        return None

    async def _wait_for_slot(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise Unparsable("busy") from None
        finally:
            self._waiting -= 1

    async def _take_back(self, worker: Worker) -> None:
        if worker.is_usable and not self._is_closed:
            self._idle.append(worker)
            return
        await self._end(worker)
        if not self._is_closed:
            with suppress(Unparsable):
                self._idle.append(await self._start())  # it gets ready while nobody waits for it

    async def _start(self) -> Worker:
        try:
            worker = await Worker.start(self._settings)
        except OSError:
            raise Unparsable("busy") from None
        self._started += 1
        self._workers.add(worker)
        if self._is_closed:
            worker.kill()
        return worker

    async def _end(self, worker: Worker) -> None:
        await worker.end()
        self._workers.discard(worker)


@asynccontextmanager
async def open_parser(settings: ParserSettings | None = None) -> AsyncGenerator[DocumentParser]:
    """The parser of a process, for as long as the block lasts; its workers end with it."""
    parser = DocumentParser(settings or ParserSettings())
    try:
        yield parser
    finally:
        await parser.aclose()
