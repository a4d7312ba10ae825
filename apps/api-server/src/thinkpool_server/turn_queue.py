"""A queue whose owners take turns: a hundred items of one owner delay another's next item by one."""

import asyncio
from collections import OrderedDict, deque
from typing import Generic, TypeVar

Owner = TypeVar("Owner")
Item = TypeVar("Item")


class TurnQueue(Generic[Owner, Item]):
    """Unbounded, for one consumer; an owner's own items stay in order."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Owner, deque[Item]] = OrderedDict()
        self._has_items = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def put(self, owner: Owner, item: Item) -> None:
        """Adds one of the owner's."""
        self._lines.setdefault(owner, deque()).append(item)
        self._has_items.set()

    async def get(self) -> Item:
        """The next item of the owner whose turn it is, once there is one."""
        await self._has_items.wait()
        owner, line = next(iter(self._lines.items()))
        item = line.popleft()
        if line:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        if not self._lines:
            self._has_items.clear()
        return item
