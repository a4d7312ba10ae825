"""Measures what hostile pages cost the process that reads them: `python -m benchmarks.hostile_pages`.

Each page is served from a process of its own and read by the own fetcher as a server reads it, without its cache. For
each, it prints how long it took, what became of it, the event loop's longest stall meanwhile, and how much memory the
process and its parsing workers hold afterwards. All is done a few times over, to see that memory does not grow. It
exits with 1 if a page took longer than 10 s, or the loop stalled for longer than 100 ms.
"""

import argparse
import asyncio
import contextlib
import gc
import gzip
import itertools
import multiprocessing
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import psutil
import uvloop
from thinkpool_pipeline.errors import AddressRefused
from thinkpool_pipeline.outward import open_outward
from thinkpool_pipeline.parsing import open_parser
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.loopback import Loopback, Play, answer, endless
from thinkpool_pipeline.testing.pdf_documents import pdf_document
from thinkpool_pipeline.testing.sites import redirect, routes
from thinkpool_pipeline.testing.small_web import SmallWeb
from thinkpool_pipeline.tools.read_page import FETCHER_UPSTREAM, FetcherSettings, PageFetcher, PageUnread
from thinkpool_pipeline.values import RunId, StepName

MOST_SECONDS = 10.0
MOST_STALL_SECONDS = 0.1
PROBE_SECONDS = 0.001
_MEGABYTE = 1024 * 1024
_CONTEXT = CallContext(run_id=RunId("benchmark"), step=StepName("page"), report_progress=lambda _: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page that means harm."""

    name: str
    make: Callable[[], Play]
    """Called in the process that serves it."""


def _html(make: Callable[[], bytes], media_type: str = "text/html") -> Callable[[], Play]:
    return lambda: answer(make(), headers={"content-type": media_type})


def _packed(make: Callable[[], bytes]) -> Callable[[], Play]:
    headers = {"content-type": "text/html", "content-encoding": "gzip"}
    return lambda: answer(gzip.compress(make()), headers=headers)


def _pdf(pages: int, lines_per_page: int = 40) -> bytes:
    lines = "\n".join(f"Line {line} of a page about the sea, which is deep." for line in range(lines_per_page))
    return pdf_document([f"Page {page}\n{lines}" for page in range(pages)])


PAGES = (
    Page(name="ordinary page of 100 kB", make=_html(lambda: b"<h1>Sea</h1>" + b"<p>The sea is deep.</p>" * 4_000)),
    Page(name="gzip bomb, 1 GB in 1 MB", make=_packed(lambda: b"\0" * 1024 * _MEGABYTE)),
    Page(name="gzip of 9.9 MB of words", make=_packed(lambda: b"<p>" + b"word " * 2_000_000)),
    Page(name="body without end", make=lambda: endless(itertools.repeat(b"<p>x " * 13_107), content_type="text/html")),
    Page(name="one line of 50 MB", make=_html(lambda: b"x" * 50 * _MEGABYTE)),
    Page(
        name="one line of 50 MB, size not said", make=lambda: endless([b"x" * 65_536] * 800, content_type="text/html")
    ),
    Page(name="one line of 10 MB", make=_html(lambda: b"<p>" + b"word " * 2_000_000)),
    Page(name="one line of 10 MB, plain text", make=_html(lambda: b"word " * 2_000_000, "text/plain")),
    Page(name="a million nested tags", make=_html(lambda: b"<div>" * 1_000_000 + b"the sea")),
    Page(
        name="a million nested tags, closed", make=_html(lambda: b"<b>" * 1_000_000 + b"the sea" + b"</b>" * 1_000_000)
    ),
    Page(name="a million paragraphs", make=_html(lambda: b"<p>the sea" * 1_000_000)),
    Page(name="a million table rows", make=_html(lambda: b"<table>" + b"<tr><td>x" * 1_000_000)),
    Page(name="30,000 links", make=_html(lambda: b"<p>a <a href='b'>c d e</a> f." * 30_000)),
    Page(
        name="900,000 attributes",
        make=_html(lambda: b"<a " + b" ".join(b"a%d=b" % number for number in range(900_000))),
    ),
    Page(name="broken charsets", make=_html(lambda: bytes(range(256)) * 40_000, "text/html; charset=utf-16")),
    Page(name="a million brackets of JSON", make=_html(lambda: b"[" * 5_000_000, "application/json")),
    Page(name="PDF of 10,000 pages", make=_html(lambda: _pdf(10_000, 10), "application/pdf")),
    Page(name="PDF of 10,000 empty pages", make=_html(lambda: pdf_document([""] * 10_000), "application/pdf")),
    Page(name="PDF of 27 MB", make=_html(lambda: _pdf(10_000), "application/pdf")),
    Page(name="PDF of 5,000 pages", make=_html(lambda: _pdf(5_000), "application/pdf")),
    Page(name="PDF of 5,000 pages, cut in half", make=_html(lambda: _pdf(5_000)[:7_000_000], "application/pdf")),
    Page(name="redirects in circles", make=lambda: redirect("/")),
)


@dataclass(slots=True)
class Probe:
    """Notes the longest time between two turns of the event loop, beyond what was asked for."""

    worst_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """The longest that the loop's own thread worked between two turns; what a stall has beyond that, it waited for."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Looks for as long as the block lasts."""
        self.worst_seconds = self.cpu_seconds = 0.0
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look())
            try:
                yield
            finally:
                looking.cancel()

    async def _look(self) -> None:
        last, last_cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            now, now_cpu = time.perf_counter(), time.thread_time()
            self.worst_seconds = max(self.worst_seconds, now - last - PROBE_SECONDS)
            self.cpu_seconds = max(self.cpu_seconds, now_cpu - last_cpu)
            last, last_cpu = now, now_cpu


async def main(names: str, rounds: int) -> int:
    """Prints a line for each page; 1 when one of them cost too much."""
    pages = [page for page in PAGES if names in page.name]
    probe = Probe()
    async with probe.running():
        await asyncio.sleep(2)
    print(f"the idle loop's longest stall: {probe.worst_seconds * 1000:.0f} ms (other programs run here, too)")
    web = SmallWeb()
    is_sound = True
    async with open_parser() as parser, open_outward(web=web.reach()) as outward:
        upstream = outward.upstream("fetcher", replace(FETCHER_UPSTREAM, cache_bytes=0), reach="web")
        fetcher = PageFetcher(upstream, parser, FetcherSettings())
        await parser.parse(b"warm", media_type="text/html")
        print(f"memory before: {_memory()}")
        for number in range(1, rounds + 1):
            for page in pages:
                with _site(page) as url:
                    web.add("site.example", url)
                    is_sound &= await _measure(fetcher, probe, page, "http://site.example/")
            gc.collect()
            print(f"memory after round {number}: {_memory()}; {parser.statistics().started} workers were started")
    return 0 if is_sound else 1


async def _measure(fetcher: PageFetcher, probe: Probe, page: Page, address: str) -> bool:
    began_at = time.perf_counter()
    async with probe.running():
        try:
            read = (await fetcher.read(address, _CONTEXT)).value
            outcome = f"{len(read.text)} characters{', cut' if read.is_cut else ''}"
        except (PageUnread, AddressRefused) as error:
            outcome = str(error)
    seconds = time.perf_counter() - began_at
    is_sound = seconds <= MOST_SECONDS and probe.worst_seconds <= MOST_STALL_SECONDS
    print(
        f"{'ok ' if is_sound else 'BAD'} {page.name:34} {seconds:6.2f} s  loop {probe.worst_seconds * 1000:4.0f} ms "
        f"({probe.cpu_seconds * 1000:3.0f} ms at work)  "
        f"{_memory():32} {outcome}",
        flush=True,
    )
    return is_sound


def _memory() -> str:
    process = psutil.Process()
    workers = [child for child in process.children() if "thinkpool_pipeline.parsing.worker" in child.cmdline()]
    held = sum(child.memory_info().rss for child in workers)
    return f"{process.memory_info().rss // _MEGABYTE} MB, workers {held // _MEGABYTE} MB"


@contextlib.contextmanager
def _site(page: Page):
    """The URL of a server with this page alone, in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(page.name, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


def _serve(name: str, connection: Connection) -> None:
    play = next(page for page in PAGES if page.name == name).make()

    async def until_killed() -> None:
        async with Loopback(routes({"/": play})) as site:
            connection.send(site.url)
            await asyncio.Event().wait()

    asyncio.run(until_killed())


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="the pages whose names have this in them")
    options.add_argument("--rounds", type=int, default=3, help="how often all is done (default: 3)")
    chosen = options.parse_args()
    sys.exit(uvloop.run(main(chosen.only, chosen.rounds)))
