"""The OpenAPI document as it is served. It takes seconds to make, so it is made once, and beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson


class ServedDocument:
    """The document as JSON, made in a thread when it is first asked for; whoever asks meanwhile waits for the same."""

    def __init__(self, build: Callable[[], dict[str, Any]]) -> None:
        """`build` is called in a thread, once unless it raises."""
        self._build = build
        self._text: bytes | None = None
        self._building = asyncio.Lock()  # so that one thread makes it, however many ask

    async def text(self) -> bytes:
        """The document."""
        async with self._building:
            if self._text is None:
                self._text = await asyncio.to_thread(self._made)
        return self._text

    def _made(self) -> bytes:
        return orjson.dumps(self._build())
