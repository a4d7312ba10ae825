"""A steady load: so many runs in flight at all times, until told to stop; then every one of them is read to its end."""

import asyncio
import itertools
import random
import secrets
from dataclasses import dataclass
from typing import Self

from chaos.clients import Clients
from chaos.recorder import Recorder

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What shares of the runs are asked, read and treated in some other way than submitted and followed."""

    chats: float = 0.0
    """Asked in OpenAI's way, in the foreground."""
    cuts: float = 0.0
    """Followed over connections that the client leaves after a few events each."""
    cancels: float = 0.0
    """Cancelled a little after they were submitted."""
    most_events_before_cut: int = 8
    most_seconds_before_cancel: float = 3.0


class Load:
    """Clients that ask one question after the other; for the length of the block, and then until all is answered."""

    def __init__(
        self,
        clients: Clients,
        rng: random.Random,
        *,
        in_flight: int,
        habits: Habits | None = None,
    ) -> None:
        self.asked = 0
        """Questions so far."""
        self.cancelled = 0
        """Cancels that were answered."""
        self._clients = clients
        self._rng = rng
        self._in_flight = in_flight
        self._habits = habits or Habits()
        self._subject = secrets.token_hex(4)  # no cache of an earlier trial knows it
        self._numbers = itertools.count(1)
        self._is_stopping = False
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for _ in range(self._in_flight):
            self._tasks.create_task(self._ask_on())
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Stops asking, and waits for the answers."""
        self._is_stopping = True
        await self._tasks.__aexit__(*raised)  # pyright: ignore[reportArgumentType] -- what this method is given

    async def _ask_on(self) -> None:
        while not self._is_stopping:
            self.asked += 1
            await self._ask(f"What do the records of quay {self._subject}-{next(self._numbers)} say?")

    async def _ask(self, query: str) -> None:
        habits, draw = self._habits, self._rng.random()
        if draw < habits.chats:
            await self._clients.chat(query)
        elif draw < habits.chats + habits.cuts:
            await self._clients.research(query, cut_after=self._rng.randint(1, habits.most_events_before_cut))
        elif draw < habits.chats + habits.cuts + habits.cancels:
            await self._cancel(query)
        else:
            await self._clients.research(query)

    async def _cancel(self, query: str) -> None:
        run_id = await self._clients.submit(query)
        await asyncio.sleep(self._rng.uniform(0, self._habits.most_seconds_before_cancel))
        self.cancelled += await self._clients.cancel(run_id) != 0
        await self._clients.follow(run_id)


async def until_accepted(recorder: Recorder, runs: int) -> None:
    """Returns when so many runs were accepted."""
    while len(recorder.history.accepted) < runs:  # noqa: ASYNC110 -- clients tell nobody
        await asyncio.sleep(_POLL_SECONDS)
