"""The async client, and the sync one in threads, behind one face: what is tested of one is tested of the other."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from thinkpool.client import AsyncThinkPool, ThinkPool

KINDS = ("async", "sync")


class EitherClient:
    """A client of this kind."""

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        self.client: Any = (AsyncThinkPool if kind == "async" else ThinkPool)(url, **options)
        self._is_async = kind == "async"

    async def call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        if self._is_async:
            return await method(*arguments, **options)
        return await asyncio.to_thread(method, *arguments, **options)

    async def research(self, question: Any, **options: Any) -> Any:
        return await self.call(self.client.research, question, **options)

    async def iterate(self, items: Any) -> AsyncGenerator[Any]:
        if self._is_async:
            async with aclosing(items):
                async for item in items:
                    yield item
            return
        try:
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                yield item
        finally:
            await asyncio.to_thread(items.close)

    async def events(self, run: Any, *, after: int = 0) -> list[Any]:
        return [event async for event in self.iterate(run.events(after=after))]

    async def list(self, **options: Any) -> list[Any]:
        return [info async for info in self.iterate(self.client.list(**options))]

    async def close(self) -> None:
        await self.call(self.client.aclose if self._is_async else self.client.close)


@asynccontextmanager
async def either_client(kind: str, url: str, **options: Any) -> AsyncGenerator[EitherClient]:
    """A client of this kind, for the length of the block."""
    client = EitherClient(kind, url, **options)
    try:
        yield client
    finally:
        await client.close()
