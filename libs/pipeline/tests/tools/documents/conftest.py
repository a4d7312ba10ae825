import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.values import InputFile, RunId, StepName

LONG = "\n\n".join(f"Paragraph {number} is about the sea." for number in range(600))

Attach = Callable[..., CallContext]


@pytest.fixture
async def knowledge(tmp_path: Path) -> AsyncIterator[KnowledgeBase]:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "pool.md").write_text("# The pool\n\nA *pool* lends pipelines.\n\n## Size\n\nThe pool has five of them.")
    (folder / "long.txt").write_text(LONG)
    (folder / "empty.md").write_text("")
    async with asyncio.timeout(40), KnowledgeBase(folder, tmp_path / "index.db") as knowledge:
        await knowledge.wait_until_ready()
        yield knowledge


@pytest.fixture
async def shop(knowledge: KnowledgeBase, tmp_path: Path) -> KnowledgeBase:
    """The same with a database."""
    with sqlite3.connect(tmp_path / "documents" / "shop.db") as connection:
        connection.executescript("""
            CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, page TEXT);
            INSERT INTO orders VALUES (1, 'blue lamp', 'https://e.example/lamp'), (2, 'red | chair', NULL);
            """)
    connection.close()
    await knowledge.refresh()
    return knowledge


@pytest.fixture
def attach() -> Attach:
    """The context of a call of a run with these files."""

    def attach(run: str = "r1", **files: str | bytes) -> CallContext:
        return CallContext(
            run_id=RunId(run),
            step=StepName("turn/1/call/1"),
            report_progress=lambda line: None,
            files=tuple(
                InputFile(name=name.replace("_", "."), media_type="", data_base64=base64.b64encode(content).decode())
                for name, text in files.items()
                for content in [text if isinstance(text, bytes) else text.encode()]
            ),
        )

    return attach
