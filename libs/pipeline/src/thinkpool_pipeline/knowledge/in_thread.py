"""Where work is done that takes its time, so that it holds up nobody."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class InThread(Protocol):
    """Runs something in a thread of its owner's. Implemented by whoever has one."""

    async def __call__(self, do: Callable[[], T]) -> T:
        """What it returned, or raised."""
        ...


async def at_once(do: Callable[[], T]) -> T:
    """Runs it here: for what is known to be small."""
    return do()
