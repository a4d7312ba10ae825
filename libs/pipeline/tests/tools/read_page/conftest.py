import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from thinkpool_pipeline.outward import Outward, Timing, open_outward
from thinkpool_pipeline.parsing import DocumentParser, open_parser
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.loopback import Loopback, answer
from thinkpool_pipeline.testing.small_web import SmallWeb
from thinkpool_pipeline.tools.read_page import FETCHER_UPSTREAM, FetcherSettings, PageFetcher
from thinkpool_pipeline.tools.read_page.web import WebManners
from thinkpool_pipeline.values import RunId, StepName


@dataclass
class Progress:
    """A call's context, with what was told to the people who watch."""

    lines: list[str] = field(default_factory=list)

    def context(self, *known: str) -> CallContext:
        return CallContext(
            run_id=RunId("r1"),
            step=StepName("turn/2/call/1"),
            report_progress=self.lines.append,
            is_known_address=known.__contains__,
        )


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def context(progress: Progress) -> CallContext:
    return progress.context()


@pytest.fixture
def web() -> SmallWeb:
    return SmallWeb()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def parser() -> AsyncIterator[DocumentParser]:
    async with open_parser() as parser:
        yield parser


@pytest_asyncio.fixture(loop_scope="package")
async def metadata() -> AsyncIterator[Loopback]:
    """What stands for the cloud's metadata service: nobody may ever ask it."""
    async with Loopback(answer(b"the keys to everything")) as service:
        yield service
        assert service.connections == 0


@pytest_asyncio.fixture(loop_scope="package")
async def outward(web: SmallWeb, metadata: Loopback) -> AsyncIterator[Outward]:
    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    port = int(metadata.url.rpartition(":")[2])
    async with asyncio.timeout(30), open_outward(Timing(sleep=at_once), web=web.reach(port)) as outward:
        yield outward


@pytest.fixture
def fetcher_with(outward: Outward, parser: DocumentParser) -> Callable[..., PageFetcher]:
    def fetcher_with(**changes: object) -> PageFetcher:
        manners = {name: changes.pop(name) for name in list(changes) if name in WebManners.__dataclass_fields__}
        settings = FetcherSettings(manners=WebManners(**manners), **changes)
        return PageFetcher(outward.upstream("fetcher", FETCHER_UPSTREAM, reach="web"), parser, settings)

    return fetcher_with
