"""The slots of this replica's calls in the database: taken, kept while the calls go on, and moved when they end.

A slot that is taken is this replica's for `HOLD_SECONDS`, and for as many again each time it says so. A replica that
dies says nothing, and its slots are free that much later. What is said of slots gathers while a statement is on its
way, and goes with the next one: a call waits for the one that takes its slots and for no other.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

from thinkpool_pipeline.outward.rate import TRAVEL_SECONDS

from thinkpool_server.shared_upstreams import statements
from thinkpool_server.shared_upstreams.link import DatabaseAway, DatabaseLink, Session

HOLD_SECONDS: Final = 8.0
_SAY_SO_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The slots of one limit."""

    name: str
    count: int


def _new_id() -> int:
    return random.getrandbits(62)


class Lease:
    """What one call has of its limits: a place while it goes on, a token until it has arrived and the token has rested.

    Implements `Sending`.
    """

    def __init__(self, leases: "Leases", *, place: Slots | None, token: Slots | None, rest_seconds: float) -> None:
        """The token rests for `rest_seconds` once the call has arrived."""
        self.id = _new_id()
        self._leases = leases
        self.place = place
        self.token = token
        self._rest_seconds = rest_seconds
        self._sent_at: float | None = None
        self.is_over = False

    def sent(self) -> None:
        """Notes that the call leaves, maybe again."""
        self._sent_at = time.monotonic()
        if self.token is not None:
            self._leases.move(self.token.name, self.id, self._rest_seconds + TRAVEL_SECONDS)

    def arrived(self) -> None:
        """Notes that the call has arrived, where that is sooner than it was taken to."""
        is_early = self._sent_at is not None and time.monotonic() < self._sent_at + TRAVEL_SECONDS
        if self.token is not None and is_early:
            self._leases.move(self.token.name, self.id, self._rest_seconds)

    def end(self) -> None:
        """Gives back the place, and the token of a call that never left; idempotent."""
        if not self.is_over:
            self.is_over = True
            self._leases.drop(self)

    def kept(self) -> Iterator[Slots]:
        """What is its own for as long as the call goes on."""
        if self.place is not None:
            yield self.place
        if self.token is not None and self._sent_at is None:
            yield self.token


class Leases:
    """All leases of this replica."""

    def __init__(self, link: DatabaseLink) -> None:
        self._link = link
        self._held: set[Lease] = set()
        self._wanting: set[Lease] = set()
        self._moves: dict[tuple[str, int], float] = {}
        self._is_told = False

    def __repr__(self) -> str:
        return f"<Leases [{len(self._held)} held, {len(self._wanting)} wanted]>"

    @property
    def held(self) -> int:
        """Leases that this replica has now."""
        return len(self._held)

    async def take(self, lease: Lease) -> float | None:
        """None once all that the lease is for was free and is taken; else the seconds until it may be.

        Raises:
            DatabaseAway: nothing is taken, or it ends by itself.

        """
        try:
            wait_seconds = await self._link.ask(partial(_take, lease))
        except BaseException:  # it may have been taken all the same
            self._give_back(lease)
            lease.id = _new_id()
            raise
        if wait_seconds is None:
            self._note_taken(lease)
        return wait_seconds

    def want(self, lease: Lease) -> None:
        """Takes what the lease is for as soon as the database is there and it is free: its call goes on meanwhile."""
        self._wanting.add(lease)

    async def take_wanted(self, session: Session) -> None:
        """Takes what is wanted, as far as it is free, before anybody else of this replica takes anything."""
        for lease in list(self._wanting):
            if await _take(lease, session) is None:
                self._note_taken(lease)

    def drop(self, lease: Lease) -> None:
        """Gives back what the lease has."""
        self._wanting.discard(lease)
        if lease in self._held:
            self._held.remove(lease)
            self._give_back(lease)

    def move(self, name: str, lease_id: int, seconds: float) -> None:
        """Lets what a lease has of this name end so many seconds from when the database hears of it."""
        self._moves[name, lease_id] = seconds
        self._tell()

    def settle(self) -> None:
        """Says what could not be said while the database was away; called whenever it has come or gone."""
        self._is_told = False
        if self._moves:
            self._tell()

    async def keep(self) -> NoReturn:
        """Says again and again what is held, and takes what is wanted."""
        while True:
            await asyncio.sleep(_SAY_SO_SECONDS)
            for lease in self._held:
                for slots in lease.kept():
                    self.move(slots.name, lease.id, HOLD_SECONDS)
            with suppress(DatabaseAway):
                for lease in list(self._wanting):
                    await self.take(lease)

    def _tell(self) -> None:
        if self._link.is_there and not self._is_told:
            self._is_told = True
            self._link.tell(self._say)

    def _note_taken(self, lease: Lease) -> None:
        self._wanting.discard(lease)
        if lease.is_over:
            self._give_back(lease)
        else:
            self._held.add(lease)

    def _give_back(self, lease: Lease) -> None:
        for slots in lease.kept():
            self.move(slots.name, lease.id, 0.0)

    async def _say(self, session: Session) -> None:
        moves, self._moves, self._is_told = self._moves, {}, False
        parameters = {
            "names": [name for name, _ in moves],
            "leases": [lease_id for _, lease_id in moves],
            "seconds": list(moves.values()),
        }
        await session.execute(statements.MOVE, parameters)


async def _take(lease: Lease, session: Session) -> float | None:
    """None once all that the lease is for is taken; else the seconds until it may be free."""
    slots = list(lease.kept())
    parameters = {
        "names": [one.name for one in slots],
        "slots": [one.count for one in slots],
        "lease": lease.id,
        "seconds": HOLD_SECONDS,
    }
    while True:
        cursor = await session.execute(statements.TAKE, parameters)
        wait_seconds, is_taken, is_missing = await cursor.fetchone() or (0.0, False, True)
        if not is_missing:
            return None if is_taken else wait_seconds
        await session.execute(statements.LAY_OUT, parameters)
