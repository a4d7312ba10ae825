"""Hears what other replicas tell: one LISTEN connection, opened again whenever it is lost."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import psycopg

from thinkpool_server.event_log.notices import CHANNEL, Notice, unpack
from thinkpool_server.postgres.connection import answered, connect_async

_RETRY_SECONDS = 0.2
_QUIET_SECONDS = 10.0
_ANSWER_SECONDS = 3.0


async def listen(
    url: str, executor: str, *, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]
) -> NoReturn:
    """Hands over the others' notices as they come; `on_gap` is called whenever some may have been missed."""
    while True:
        try:
            async with await connect_async(url, purpose="listener") as connection:
                await answered(connection, connection.execute(f"LISTEN {CHANNEL}"), within_seconds=_ANSWER_SECONDS)
                on_gap()
                while True:
                    async for heard in connection.notifies(timeout=_QUIET_SECONDS):
                        _hand_over(heard.payload, executor, on_notice, on_gap)
                    # or it would wait for a server that hangs
                    await answered(connection, connection.execute(""), within_seconds=_ANSWER_SECONDS)
        except psycopg.Error:
            await asyncio.sleep(_RETRY_SECONDS)


def _hand_over(payload: str, executor: str, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]) -> None:
    try:
        sender, notices = unpack(payload)
    except (ValueError, TypeError, LookupError):  # of a newer release, or somebody else's
        on_gap()
        return
    if sender != executor:
        for notice in notices:
            on_notice(notice)
