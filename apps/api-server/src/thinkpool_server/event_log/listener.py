"""Hears what other replicas tell: one LISTEN connection, opened again whenever it is lost."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import psycopg

from thinkpool_server.event_log.notices import CHANNEL, Notice, unpack
from thinkpool_server.postgres.connection import connect_async

_RETRY_SECONDS = 0.2


async def listen(
    url: str, executor: str, *, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]
) -> NoReturn:
    """Hands over the others' notices as they come; `on_gap` is called whenever some may have been missed."""
    while True:
        try:
            async with await connect_async(url, purpose="listener") as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                on_gap()
                async for heard in connection.notifies():
                    try:
                        sender, notices = unpack(heard.payload)
                    except (ValueError, TypeError, LookupError):  # of a newer release, or somebody else's
                        on_gap()
                        continue
                    if sender != executor:
                        for notice in notices:
                            on_notice(notice)
        except psycopg.Error:
            await asyncio.sleep(_RETRY_SECONDS)
