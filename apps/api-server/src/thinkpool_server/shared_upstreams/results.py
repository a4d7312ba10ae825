"""Results of outward calls for all replicas: kept once, and made by one replica however many ask at the same time.

Who finds no result claims the making of it, says so again and again while it lasts, and leaves the result or lets go.
The others look again every tenth of a second: they find the result, or a claim that ended and is theirs to make. What
is too large to be shared says so in its place, so that nobody waits for the next one's turn.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Final, LiteralString, NoReturn

from thinkpool_pipeline.outward import KeptResult

from thinkpool_server.shared_upstreams import statements
from thinkpool_server.shared_upstreams.link import DatabaseAway, DatabaseLink, Session

MAX_RESULT_BYTES: Final = 1024 * 1024
MAX_TOTAL_BYTES: Final = 512 * 1024 * 1024
CLAIM_SECONDS: Final = 6.0
_SAY_SO_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 15.0
"""How long a caller waits for another replica; then it makes the result by itself."""
_POLL_SECONDS: Final = (0.05, 0.1)
_SWEEP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Claim:
    key: bytes
    id: int


class _Turn:
    """Implements `ResultTurn`."""

    def __init__(self, *, found: KeptResult | None = None, claim: _Claim | None = None) -> None:
        self._found = found
        self.claim = claim
        self.content: bytes | None = None
        self.seconds = 0.0

    @property
    def found(self) -> KeptResult | None:
        return self._found

    def keep(self, content: bytes, *, seconds: float) -> bool:
        self.content, self.seconds = content, seconds
        return self.claim is not None and len(content) <= MAX_RESULT_BYTES


class DeploymentResults:
    """Implements `SharedResults` for all replicas."""

    def __init__(self, link: DatabaseLink, *, replicas: Callable[[], int]) -> None:
        self._link = link
        self._replicas = replicas
        self._claims: set[_Claim] = set()

    def __repr__(self) -> str:
        return f"<DeploymentResults [{len(self._claims)} being made here]>"

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncGenerator[_Turn]:
        """As `SharedResults` says."""
        turn = await self._come_to(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=24).digest())
        if turn.claim is None:
            yield turn
            return
        self._claims.add(turn.claim)
        try:
            yield turn
        finally:
            self._claims.discard(turn.claim)
            self._link.tell(partial(_settle, turn.claim, turn.content, turn.seconds))

    async def keep(self) -> NoReturn:
        """Says again and again what is being made here."""
        while True:
            await asyncio.sleep(_SAY_SO_SECONDS)
            if self._claims:
                self._link.tell(partial(_hold, frozenset(self._claims)))

    async def sweep(self) -> NoReturn:
        """Deletes what is over, in the whole deployment about every half a minute."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS * max(1, self._replicas()) * random.uniform(0.5, 1.5))
            self.clean()

    def clean(self, *, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        """Deletes what is over, and the oldest of what is more than so many bytes."""
        for statement in (statements.SWEEP, statements.SHRINK, statements.FORGET_SLOTS):
            self._link.tell(partial(_sweep, statement, max_total_bytes))

    async def _come_to(self, key: bytes) -> _Turn:
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + _PATIENCE_SECONDS
        claim = _Claim(key, random.getrandbits(62))
        try:
            while (turn := await self._link.ask(partial(_look, claim))) is None:
                if loop.time() > patient_until:
                    return _Turn()
                await asyncio.sleep(random.uniform(*_POLL_SECONDS))
        except DatabaseAway:
            return _Turn()
        except BaseException:  # it may have been claimed all the same
            self._link.tell(partial(_settle, claim, None, 0.0))
            raise
        return turn


async def _look(claim: _Claim, session: Session) -> _Turn | None:
    """The result, or the claim, or neither where there is to be none; None where another replica is making it."""
    parameters = {"key": claim.key, "claim": claim.id, "seconds": CLAIM_SECONDS}
    cursor = await session.execute(statements.LOOK, parameters, binary=True)
    is_ours, is_claimed, content, fresh_seconds = await cursor.fetchone() or (False, True, None, 0.0)
    if is_ours:
        return _Turn(claim=claim)
    if is_claimed:
        return None
    return _Turn() if content is None else _Turn(found=KeptResult(content=content, fresh_seconds=fresh_seconds))


async def _settle(claim: _Claim, content: bytes | None, seconds: float, session: Session) -> None:
    if content is None:
        await session.execute(statements.LET_GO, {"key": claim.key, "claim": claim.id})
        return
    value = content if len(content) <= MAX_RESULT_BYTES else None
    parameters = {"key": claim.key, "claim": claim.id, "value": value, "seconds": seconds}
    await session.execute(statements.KEEP, parameters)


async def _hold(claims: Collection[_Claim], session: Session) -> None:
    parameters = {
        "keys": [claim.key for claim in claims],
        "claims": [claim.id for claim in claims],
        "seconds": CLAIM_SECONDS,
    }
    await session.execute(statements.HOLD_CLAIMS, parameters)


async def _sweep(statement: LiteralString, max_bytes: int, session: Session) -> None:
    while (await session.execute(statement, {"max_bytes": max_bytes})).rowcount > 0:
        pass
