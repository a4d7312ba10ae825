"""Reading a run to its end for an answer in one piece, as long as somebody waits for it."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fastapi import Request
from thinkpool_pipeline.events import StoredEvent

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.protocols import RunReader

CLIENT_LEFT = 499
"""nginx's status; nobody receives it, but the log and the metrics do."""


class WholeAnswer(Protocol):
    """Gathers a run's events."""

    def add(self, batch: Sequence[StoredEvent]) -> None:
        """Takes in what happened."""
        ...


async def gathered(request: Request, reader: RunReader, answer: WholeAnswer) -> bool:
    """Reads the run to its end; False when the client left before.

    Raises:
        StoreUnavailable: the events cannot be read now.

    """
    failure: StoreUnavailable | None = None

    async def stop_when_client_leaves(patience: asyncio.Timeout) -> None:
        message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await request.receive()
        patience.reschedule(asyncio.get_running_loop().time())

    try:
        async with reader, asyncio.timeout(None) as patience, asyncio.TaskGroup() as group:
            watcher = group.create_task(stop_when_client_leaves(patience))
            try:
                async for batch in reader:
                    answer.add(batch)
            except StoreUnavailable as error:  # carried out of the task group, which would wrap it
                failure = error
            watcher.cancel()
    except TimeoutError:
        return False
    if failure is not None:
        raise failure
    return True
