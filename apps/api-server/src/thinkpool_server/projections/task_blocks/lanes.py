"""The order in which blocks are sent: one after the other, though what they tell of happens side by side.

A lane is a queue of pieces and of further lanes. A lane in a queue holds up what is behind it until it is closed, so
that the one at the front is sent as it is filled, and the others wait, whole, for their turn.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Stat = Literal["message_start", "message_process", "message_result"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a block, to be sent when it is its turn."""

    block: "Block"
    stat: Stat
    content: str


@dataclass(slots=True)
class Lane:
    """What is to be sent in this order."""

    is_closed: bool = False
    _waiting: "deque[Piece | Lane]" = field(default_factory=deque["Piece | Lane"])

    def branch(self) -> "Lane":
        """A lane within this one, behind what is there."""
        lane = Lane()
        self._waiting.append(lane)
        return lane

    def block(self, content_type: str, start: str) -> "Block":
        """A block within this lane, begun."""
        block = Block(content_type=content_type)
        self._waiting.append(block)
        block.put("message_start", start)
        return block

    def close(self) -> None:
        """Ends it, and all within it."""
        for item in self._waiting:
            if isinstance(item, Lane):
                item.close()
        self.is_closed = True

    def sendable(self) -> Iterator[Piece]:
        """What has its turn now; it is taken out."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Piece):
                yield first
            else:
                yield from first.sendable()
                if not first.is_closed:
                    return
            self._waiting.popleft()


@dataclass(slots=True, kw_only=True)
class Block(Lane):
    """A lane of nothing but one block's pieces."""

    content_type: str
    index: int | None = None
    """Its place among all blocks, given when it is sent."""

    def put(self, stat: Stat, content: str) -> None:
        """One more piece."""
        self._waiting.append(Piece(self, stat, content))

    def write(self, content: str) -> None:
        """More of what it says."""
        self.put("message_process", content)

    def close(self) -> None:
        """Ends it. Once is enough."""
        if not self.is_closed:
            self.put("message_result", "")
            self.is_closed = True
