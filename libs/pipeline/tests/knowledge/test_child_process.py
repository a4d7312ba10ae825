import asyncio
import os
import sys

import psutil
import pytest
from thinkpool_pipeline.knowledge.child_process import answer_of


@pytest.fixture(autouse=True)
async def patience():
    async with asyncio.timeout(20):
        yield


async def ask(program: str, *request: bytes, seconds: float = 10.0, most: int = 1_000_000) -> bytes | None:
    return await answer_of(
        ("-I", "-S", "-c", program), request, timeout_seconds=seconds, max_answer_bytes=most
    )  # fmt: skip


EARLIER: set[psutil.Process] = set()
"""Processes that other tests in this one have left running, as servers that are shared are."""


@pytest.fixture(autouse=True)
def earlier() -> None:
    EARLIER.clear()
    EARLIER.update(psutil.Process().children())


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child not in EARLIER]


async def test_what_a_child_answers_comes_back():
    echo = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    large = os.urandom(3_000_000)
    assert await ask(echo, b"one", b"", large, most=4_000_000) == b"one" + large


async def test_a_child_may_answer_before_it_was_told_everything_or_die():
    assert await ask("print('no')", b"x" * 1_000_000) in (b"no\n", None)
    assert await ask("import os; os.abort()") == b""


async def test_of_an_answer_that_is_too_long_the_beginning_comes_back_and_its_child_ends():
    assert (
        await ask("while True: print('x' * 100)", most=1_000)
        == (b"x" * 100 + b"\n")[:1_000] * 0 + ((b"x" * 100 + b"\n") * 10)[:1_000]
    )
    assert children() == []


async def test_a_child_that_takes_too_long_is_killed():
    assert await ask("import time; time.sleep(60)", seconds=0.3) is None
    assert children() == []


async def test_a_child_that_does_not_listen_is_killed():
    assert await ask("import time; time.sleep(60)", b"x" * 1_000_000, seconds=0.3) is None
    assert children() == []


async def test_a_child_of_a_caller_that_leaves_is_killed():
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask("import time; time.sleep(60)", seconds=60))
        while not (found := children()):  # noqa: ASYNC110 -- a process says nothing when it starts
            await asyncio.sleep(0.01)
        asking.cancel()
    assert not found[0].is_running()


async def test_a_child_has_nothing_of_the_environment():
    os.environ["THINKPOOL_CANARY"] = "canary"
    try:
        environment = await ask("import os; print(dict(os.environ))")
    finally:
        del os.environ["THINKPOOL_CANARY"]
    assert environment is not None
    assert b"canary" not in environment
    assert b"PATH" in environment


async def test_where_no_child_can_be_started_there_is_no_answer():
    executable = sys.executable
    sys.executable = "/nowhere/python"
    try:
        assert await ask("print(1)") is None
    finally:
        sys.executable = executable
