import asyncio
import os
import re
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
from thinkpool_pipeline.parsing import DocumentParser, ParserSettings, Unparsable, WorkerLimits, open_parser
from thinkpool_pipeline.testing.pdf_documents import pdf_document

SLOW_PAGE = b"<a " + b" ".join(b"a%d=b" % number for number in range(300_000))
"""Its attributes are compared with each other: minutes of work within the HTML parser itself."""


@asynccontextmanager
async def parser_with(**settings: object) -> AsyncIterator[DocumentParser]:
    async with asyncio.timeout(30), open_parser(ParserSettings(**settings)) as parser:
        yield parser


async def refusal(parser: DocumentParser, content: bytes, **values: str) -> str:
    with pytest.raises(Unparsable) as refused:
        await parser.parse(content, **values)
    return refused.value.reason


EARLIER: set[psutil.Process] = set()
"""Processes that other tests in this one have left running, as servers that are shared are."""


@pytest.fixture(autouse=True)
def earlier() -> None:
    EARLIER.clear()
    EARLIER.update(psutil.Process().children())


def workers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child not in EARLIER and "thinkpool_pipeline.parsing.worker" in child.cmdline()
    ]


async def until_busy(parser: DocumentParser, count: int = 1) -> None:
    while f"{count} busy" not in repr(parser):  # noqa: ASYNC110 -- what it waits for has no event
        await asyncio.sleep(0.01)


async def test_documents_of_every_kind_are_read_by_one_worker_which_stays():
    async with parser_with() as parser:
        assert repr(parser) == "<DocumentParser [0 busy, 0 idle, 0 waiting]>"
        page = await parser.parse(
            b"<title>T</title><p>sea <a href='b'>x</a> and <a>y</a>",
            media_type="text/html",
            address="https://e.example/a",
        )
        pdf = await parser.parse(pdf_document(["The sea"], title="Deep"), name="deep.pdf")
        text = await parser.parse("é".encode("cp1252"), media_type="text/plain; charset=latin1")
        long = await parser.parse(b"x" * 3_000_000, media_type="text/plain")
        again = await asyncio.to_thread(parser.parse_from_thread, b'{"a":1}', name="a.json")
        assert repr(parser) == "<DocumentParser [0 busy, 1 idle, 0 waiting]>"
        assert re.fullmatch(r"<Worker \d+ \[idle, 5 documents, \d{7,} bytes\]>", repr(parser._idle[0]))
        statistics = parser.statistics()
    assert (page.title, pdf.title, pdf.text, text.text) == ("T", "Deep", "The sea", "é")
    assert pdf.page_starts == (0,)
    assert "[x](https://e.example/b)" in page.text
    assert (len(long.text), long.is_cut) == (1_000_000, True)
    assert again.text == '{\n  "a": 1\n}'
    assert (statistics.workers, statistics.started, statistics.parsed, statistics.failed) == (1, 1, 5, 0)


async def test_a_worker_has_limits_and_none_of_the_server_s_environment():
    limits = WorkerLimits(memory_bytes=900_000_000, file_bytes=70_000, open_files=40)
    async with parser_with(limits=limits) as parser:
        await parser.parse(b"x")
        [worker] = workers()
        for kind, most in ((psutil.RLIMIT_AS, 900_000_000), (psutil.RLIMIT_FSIZE, 70_000), (psutil.RLIMIT_NOFILE, 40)):
            assert worker.rlimit(kind) == (most, most)
        assert 1 <= worker.rlimit(psutil.RLIMIT_CPU)[0] <= 60
        assert worker.nice() > psutil.Process().nice()
        assert "PYTEST_CURRENT_TEST" not in worker.environ()
    assert workers() == []


async def test_what_cannot_be_read_is_refused_before_it_costs_a_worker():
    async with parser_with(max_input_bytes=10) as parser:
        assert await refusal(parser, b"x", media_type="image/png") == "unsupported"
        assert await refusal(parser, b"x" * 11, media_type="text/plain") == "too_large"
        assert parser.statistics().started == 0
        assert parser.statistics().failed == 2


async def test_a_document_that_takes_too_long_ends_its_worker_and_no_other():
    async with parser_with(parse_seconds=1.0) as parser:
        await parser.parse(b"x")
        [worker] = workers()
        assert await refusal(parser, SLOW_PAGE, media_type="text/html") == "too_slow"
        assert not worker.is_running()
        assert repr(parser) == "<DocumentParser [0 busy, 1 idle, 0 waiting]>"
        assert (await parser.parse(b"next")).text == "next"
        assert parser.statistics().started == 2


async def test_a_document_that_takes_too_much_cpu_time_ends_its_worker():
    async with parser_with(limits=WorkerLimits(cpu_seconds=0)) as parser:
        assert await refusal(parser, SLOW_PAGE, media_type="text/html") == "broken"
        assert (await parser.parse(b"next")).text == "next"


async def test_a_document_that_takes_too_much_memory_is_refused():
    async with parser_with(limits=WorkerLimits(memory_bytes=150_000_000)) as parser:
        assert await refusal(parser, b"\xe9" * 20_000_000, media_type="text/plain") == "too_hungry"
        assert (await parser.parse(b"next")).text == "next"


async def test_a_worker_that_is_killed_takes_its_document_with_it_and_no_other():
    async with parser_with() as parser:
        await parser.parse(b"x")
        async with asyncio.TaskGroup() as group:
            refused = group.create_task(refusal(parser, SLOW_PAGE, media_type="text/html"))
            await until_busy(parser)
            workers()[0].kill()
        assert refused.result() == "broken"
        assert (await parser.parse(b"next")).text == "next"


async def test_a_worker_that_died_idle_is_noticed_before_it_gets_a_document():
    async with parser_with() as parser:
        await parser.parse(b"x")
        workers()[0].kill()
        while parser._idle[0].is_usable:  # noqa: ASYNC110 -- another process's end
            await asyncio.sleep(0.01)
        assert (await parser.parse(b"next")).text == "next"
        assert parser.statistics().failed == 0


@pytest.mark.parametrize("settings", [{"recycle_documents": 2}, {"recycle_bytes": 1}])
async def test_a_worker_is_replaced_when_it_has_served_long_enough_or_grown(settings):
    async with parser_with(**settings) as parser:
        await parser.parse(b"one")
        first = workers()
        await parser.parse(b"two")
        await parser.parse(b"three")
        assert parser.statistics().started > 1
        assert workers() != first
        assert parser.statistics().workers == 1


async def test_as_many_documents_are_read_at_once_as_there_are_workers_and_the_others_wait():
    async with parser_with(max_workers=2) as parser, asyncio.TaskGroup() as group:
        tasks = [group.create_task(parser.parse(b"%d" % number)) for number in range(5)]
        await until_busy(parser, 2)
        assert (parser.statistics().waiting, len(workers())) == (3, 2)
        assert [(await task).text for task in tasks] == ["0", "1", "2", "3", "4"]


async def test_who_waits_too_long_for_a_worker_is_told():
    async with parser_with(max_workers=1, wait_seconds=0.05) as parser, asyncio.TaskGroup() as group:
        first = group.create_task(parser.parse(b"first"))
        await until_busy(parser)
        assert await refusal(parser, b"second") == "busy"
        assert (await first).text == "first"


async def test_a_caller_that_leaves_frees_its_place_and_its_worker_is_not_used_again():
    async with parser_with(max_workers=1) as parser:
        await parser.parse(b"x")
        [worker] = workers()
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(parser.parse(SLOW_PAGE, media_type="text/html"))
            await until_busy(parser)
            leaving.cancel()
        assert not worker.is_running()
        assert (await parser.parse(b"next")).text == "next"


async def test_where_there_can_be_no_new_process_documents_are_refused_until_there_can():
    async with parser_with() as parser:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        in_use = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use, hard))
        try:
            refused = await refusal(parser, b"x")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert refused == "busy"
        assert (await parser.parse(b"next")).text == "next"


async def test_workers_that_cannot_start_are_said_to_be_busy():
    async with parser_with(start_seconds=0.0) as parser:
        assert await refusal(parser, b"x") == "busy"


async def test_a_worker_that_starts_while_all_is_closed_is_ended_with_it():
    async with parser_with() as parser, asyncio.TaskGroup() as group:
        starting = group.create_task(refusal(parser, b"x"))
        await asyncio.sleep(0)
        assert parser.statistics().started == 0
        await parser.aclose()
        assert await starting == "closed"
        assert (parser.statistics().started, parser.statistics().workers, workers()) == (1, 0, [])


async def test_closing_ends_what_is_being_read_and_refuses_what_comes_after():
    async with parser_with(max_workers=1) as parser, asyncio.TaskGroup() as group:
        reading = group.create_task(refusal(parser, SLOW_PAGE, media_type="text/html"))
        waiting = group.create_task(refusal(parser, b"second"))
        await until_busy(parser)
        await parser.aclose()
        await parser.aclose()
        assert [await reading, await waiting] == ["closed", "closed"]
        assert await refusal(parser, b"third") == "closed"
        assert workers() == []
