"""How many requests one host sees of us at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    users: int = 0


class HostSlots:
    """A limit for each host; those that nobody asks are not remembered."""

    def __init__(self, max_per_host: int) -> None:
        self._max_per_host = max_per_host
        self._hosts: dict[str, _Host] = {}

    def __repr__(self) -> str:
        return f"<HostSlots [{len(self._hosts)} hosts]>"

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncGenerator[None]:
        """Holds one place at the host for the length of the block; first come, first served."""
        entry = self._hosts.setdefault(host, _Host(asyncio.Semaphore(self._max_per_host)))
        entry.users += 1
        try:
            async with entry.slots:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._hosts[host]
