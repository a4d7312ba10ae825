import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
async def patience() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a database by a script."""

    def make(script: str, name: str = "a.db") -> Path:
        path = tmp_path / name
        with sqlite3.connect(path) as connection:
            connection.executescript(script)
        connection.close()
        return path

    return make
