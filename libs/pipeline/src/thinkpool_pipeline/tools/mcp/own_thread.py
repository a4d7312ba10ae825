"""A thread for what would hold the event loop up: the loop's default ones belong to the engine, and end with it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_THREAD = ThreadPoolExecutor(1, "mcp")


async def in_own_thread(do: Callable[[], T]) -> T:
    """What `do` gives; one at a time in the whole process."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, do)
