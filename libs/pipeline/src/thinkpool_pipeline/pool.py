"""Lends pipelines, one run each at a time, and keeps them fit: warms, checks, replaces and closes them.

Each of the pool's places has a keeper, one task for the whole life of the place: it makes the place's pipeline, checks
it after every run and now and then while it is idle, closes it when it is no longer fit, and makes the next one. So a
pipeline is opened and closed by the same task, whoever borrows it, and whatever befalls a pipeline stays in its place.
Who gets what is decided without awaiting: a pipeline that comes free belongs at once to the first who waits.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType

from thinkpool_pipeline.errors import PipelineError, ShuttingDown
from thinkpool_pipeline.protocols import Pipeline

logger = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """A pool at one moment. `idle`, `in_use`, `warming` and `broken` add up to `size`."""

    size: int
    idle: int
    in_use: int
    warming: int
    """Being made, checked or replaced."""
    broken: int
    """Those whose last making failed; it is tried again."""
    waiting: int
    """Runs that wait for a pipeline."""
    replaced: int
    """Pipelines that were closed and replaced since the start."""


class _State(Enum):
    WARMING = auto()
    BROKEN = auto()
    IDLE = auto()
    LENT = auto()


@dataclass(slots=True, eq=False)
class _Place:
    """One of the pool's places and the pipeline in it."""

    state: _State = _State.WARMING
    pipeline: Pipeline | None = None
    runs: int = 0
    is_faulty: bool = False
    came_back: asyncio.Event = field(default_factory=asyncio.Event)


class _FaultBarrier:
    """Keeps what one pipeline's code raises from its neighbours: it is logged, and the place goes on.

    Like the run supervisor, it stands between foreign code that may raise anything and those who have no part in it.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        logger.warning("%s a pipeline failed: %s", self._doing, kind.__name__ if kind else "", exc_info=error)
        return True


class PipelinePool:
    """As many pipelines as it has places, lent in the order in which they are asked for.

    Entering it returns at once; the pipelines come up in the background. Leaving it turns away those who wait and
    closes every pipeline, so the runs must have ended before.
    """

    def __init__(
        self,
        make: Callable[[int], Awaitable[Pipeline]],
        size: int,
        *,
        max_runs: int = 0,
        health_interval_seconds: float = 60.0,
        check_timeout_seconds: float = 5.0,
        close_timeout_seconds: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make the pool.

        Args:
            make: makes the pipeline of a number; numbers count from 1 and are never used twice.
            size: how many pipelines.
            max_runs: a pipeline is replaced after so many runs; 0 for never.
            health_interval_seconds: how often an idle pipeline is checked.
            check_timeout_seconds: a check that takes longer has failed.
            close_timeout_seconds: closing a pipeline is given up after so long.
            sleep: waits between attempts to make a pipeline.

        """
        self._make = make
        self._max_runs = max_runs
        self._health_interval_seconds = health_interval_seconds
        self._check_timeout_seconds = check_timeout_seconds
        self._close_timeout_seconds = close_timeout_seconds
        self._sleep = sleep
        self._places = [_Place() for _ in range(size)]
        self._idle: deque[_Place] = deque()
        self._waiting: deque[asyncio.Future[_Place]] = deque()
        self._group = asyncio.TaskGroup()
        self._keepers: list[asyncio.Task[None]] = []
        self._last_number = 0
        self._replaced = 0
        self._is_open = False

    def __repr__(self) -> str:
        now = self.statistics()
        figures = [f"{now.in_use} in use", f"{now.idle} idle", f"{now.waiting} waiting"]
        figures += [f"{now.warming} warming"] if now.warming else []
        figures += [f"{now.broken} broken"] if now.broken else []
        return f"<PipelinePool [{', '.join(figures)}]>"

    async def __aenter__(self) -> "PipelinePool":
        await self._group.__aenter__()
        self._is_open = True
        self._keepers = [self._group.create_task(self._keep(place)) for place in self._places]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        self._idle.clear()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(ShuttingDown())
        self._waiting.clear()
        for keeper in self._keepers:
            keeper.cancel()
        await self._group.__aexit__(kind, error, traceback)

    def statistics(self) -> PoolStatistics:
        """The pool now."""
        states = [place.state for place in self._places]
        return PoolStatistics(
            size=len(states),
            idle=states.count(_State.IDLE),
            in_use=states.count(_State.LENT),
            warming=states.count(_State.WARMING),
            broken=states.count(_State.BROKEN),
            waiting=sum(not turn.done() for turn in self._waiting),
            replaced=self._replaced,
        )

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Pipeline]:
        """Holds a pipeline for the length of the block; waits for one behind all who asked before.

        A run that was cancelled, or ended by an error of the tree in `errors`, leaves its pipeline fit; anything else
        that is raised in the block is a fault, and the pipeline is replaced.

        Raises:
            ShuttingDown: the pool is not open.

        """
        place = self._idle.popleft() if self._idle else await self._wait()
        pipeline = place.pipeline
        if pipeline is None or not self._is_open:  # the pool was left in the moment in which it was given
            raise ShuttingDown
        place.state = _State.LENT
        place.is_faulty = True
        try:
            yield pipeline
            place.is_faulty = False
        except (PipelineError, asyncio.CancelledError):
            place.is_faulty = False
            raise
        finally:
            self._take_back(place)

    async def _wait(self) -> _Place:
        if not self._is_open:
            raise ShuttingDown
        turn: asyncio.Future[_Place] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # it came in the same moment as the cancellation
                self._offer(turn.result())
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _offer(self, place: _Place) -> None:
        """Gives a fit pipeline to the first who waits, or keeps it at hand."""
        if not self._is_open:
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                place.state = _State.LENT
                turn.set_result(place)
                return
        place.state = _State.IDLE
        self._idle.append(place)

    def _take_back(self, place: _Place) -> None:
        """Hands a pipeline that was lent to its keeper, who decides what becomes of it."""
        place.runs += 1
        place.state = _State.WARMING
        place.came_back.set()

    async def _keep(self, place: _Place) -> None:
        """The life of one place."""
        while True:
            place.pipeline = pipeline = await self._made(place)
            place.runs, place.is_faulty = 0, False
            try:
                self._offer(place)
                await self._need_for_check(place)
                while await self._is_fit(place, pipeline):
                    self._offer(place)
                    await self._need_for_check(place)
            finally:
                place.state = _State.WARMING
                place.pipeline = None
                await self._close(pipeline)
            self._replaced += 1

    async def _made(self, place: _Place) -> Pipeline:
        """The next pipeline of the place, healthy, after as many attempts as it takes."""
        pause_seconds = _FIRST_RETRY_SECONDS
        while True:
            pipeline = await self._attempt()
            if pipeline is not None:
                return pipeline
            place.state = _State.BROKEN
            await self._sleep(pause_seconds * random.uniform(0.8, 1.2))
            pause_seconds = min(pause_seconds * 2, _MAX_RETRY_SECONDS)

    async def _attempt(self) -> Pipeline | None:
        self._last_number += 1
        with _FaultBarrier("Making"):
            pipeline = await self._make(self._last_number)
            is_healthy = False
            try:
                is_healthy = await self._is_healthy(pipeline)
            finally:
                if not is_healthy:
                    await self._close(pipeline)
            return pipeline if is_healthy else None
        return None

    async def _need_for_check(self, place: _Place) -> None:
        """Returns when the pipeline came back, or was idle for the health interval; it is then not to be had."""
        while not place.came_back.is_set():
            try:
                async with asyncio.timeout(self._health_interval_seconds):
                    await place.came_back.wait()
            except TimeoutError:
                if place in self._idle:
                    self._idle.remove(place)
                    place.state = _State.WARMING
                    return
        place.came_back.clear()

    async def _is_fit(self, place: _Place, pipeline: Pipeline) -> bool:
        if place.is_faulty or (self._max_runs and place.runs >= self._max_runs):
            return False
        return await self._is_healthy(pipeline)

    async def _is_healthy(self, pipeline: Pipeline) -> bool:
        with _FaultBarrier("Checking"):
            async with asyncio.timeout(self._check_timeout_seconds):
                return await pipeline.is_healthy()
        return False

    async def _close(self, pipeline: Pipeline) -> None:
        with _FaultBarrier("Closing"):
            async with asyncio.timeout(self._close_timeout_seconds):
                await pipeline.aclose()
