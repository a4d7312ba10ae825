from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from thinkpool_pipeline.knowledge import KnowledgeBase

Opened = Callable[..., Awaitable[KnowledgeBase]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    return folder


@pytest.fixture
async def opened(folder: Path, tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens a knowledge base over `folder` with these files, indexed; it looks again only when it is told to."""
    async with AsyncExitStack() as exits:

        async def opened(files: dict[str, str | bytes], **settings: Any) -> KnowledgeBase:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            knowledge = KnowledgeBase(folder, tmp_path / "index.db", **{"scan_seconds": 3600.0, **settings})
            await exits.enter_async_context(knowledge)
            await knowledge.wait_until_ready()
            return knowledge

        yield opened
