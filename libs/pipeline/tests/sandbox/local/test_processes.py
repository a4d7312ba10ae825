import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from thinkpool_pipeline.sandbox.local.processes import (
    Ending,
    are_children_listed,
    descendants,
    holdings,
    shared_out_bytes,
)

# Three generations, the third one with a second thread; each says that it is there.
FAMILY = """
import os, sys, threading, time
held = b"x" * (20 << 20)
if os.fork() == 0:
    if os.fork() == 0:
        threading.Thread(target=time.sleep, args=(60,)).start()
        print(os.getpid(), flush=True)
    else:
        time.sleep(60)
time.sleep(60)
"""


@contextlib.asynccontextmanager
async def family() -> AsyncIterator[tuple[int, int]]:
    """The ids of a process and of its grandchild."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FAMILY, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.pid, int(await process.stdout.readline())
    finally:
        for pid in (*descendants(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        await process.wait()


async def test_a_family_is_found_counted_and_ended_but_for_one() -> None:
    async with asyncio.timeout(20), family() as (first, last):
        middle, found = descendants(first)
        assert found == last
        assert descendants(first, most=1) == [middle]
        held = holdings([middle, last])
        assert held.tasks == 3
        assert held.memory_bytes > 40 << 20
        assert 10 << 20 < shared_out_bytes([middle, last]) < 40 << 20
        ending = Ending(first, spare=middle)
        assert not ending.look(), "the last one lives"
        while states(last) != ["Z"]:  # noqa: ASYNC110 -- a kill takes a moment
            await asyncio.sleep(0.01)
        assert not ending.look(), "it was found dead just now: another may have come from it"
        assert ending.look()
        assert not Ending(first, spare=0).look()


async def test_a_process_of_many_threads_stands_still_once_all_of_them_do() -> None:
    async with asyncio.timeout(20), family() as (_, last):
        assert not Ending(last, spare=last).look()
        os.kill(last, signal.SIGSTOP)
        while states(last) != ["T", "T"]:  # noqa: ASYNC110 -- a signal takes a moment
            await asyncio.sleep(0.01)
        assert Ending(last, spare=last).look()


def states(pid: int) -> list[str]:
    """Of a process's threads."""
    stats = (task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat"))
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


async def test_who_is_gone_holds_nothing() -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    assert descendants(process.pid) == []
    held = holdings([process.pid])
    assert (held.tasks, held.memory_bytes, shared_out_bytes([process.pid])) == (0, 0, 0)
    assert Ending(process.pid, spare=process.pid).look()


def test_this_kernel_lists_children() -> None:
    assert are_children_listed()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everybody's memory map")
def test_where_the_exact_figure_is_not_to_be_read_the_upper_bound_stands() -> None:
    assert shared_out_bytes([1]) == holdings([1]).memory_bytes > 0
