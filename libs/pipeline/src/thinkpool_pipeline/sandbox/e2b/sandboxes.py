"""All sandboxes at E2B of one process: one a run, never more than the account allows, none forgotten.

A sandbox is made by a task that belongs to nobody's call, so that no call that is cancelled leaves one behind: whoever
releases the run waits for it in the background and kills what arrives. Where nobody can know whether there is one (the
answer was lost, or another process made it), it is looked up by its metadata and killed. And as no process can vouch
for its own end, every sandbox has a limited life at E2B, which using it renews.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.outward import CallLimit, DeadlinePassed, OutwardError, RateWindow, Timing, Upstream
from thinkpool_pipeline.outward.gate import Gate
from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.sandbox.e2b.account import Account, Creation, Listed
from thinkpool_pipeline.sandbox.e2b.failures import SandboxGone, opening_error
from thinkpool_pipeline.sandbox.e2b.sandbox import E2BSandbox
from thinkpool_pipeline.sandbox.e2b.settings import E2BSettings
from thinkpool_pipeline.values import RunId

if TYPE_CHECKING:
    from e2b_code_interpreter import AsyncSandbox

RUN_KEY = "thinkpool-run"
DEPLOYMENT_KEY = "thinkpool-deployment"
"""Metadata of each sandbox: whose it is."""

_LOOKS_SECONDS = (0.0, 2.0, 10.0)
"""How long to wait before each look for a sandbox that may still be on its way."""
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class E2BStatistics:
    """The sandboxes at one moment."""

    open: int
    """In the hands of runs."""
    opening: int
    """Wanted by runs and not there yet, or lost."""
    ending: int
    """Of runs that are over, and not yet known to be gone."""
    limit: int


@dataclass(slots=True)
class _Run:
    """What one run has, and what it may have without anybody's knowing."""

    run_id: RunId
    may_have_left_one: bool
    """Whether an earlier attempt may have, which nobody has looked for yet."""
    opening: "asyncio.Task[E2BSandbox | OutwardError] | None" = None
    sandbox: E2BSandbox | None = None
    opened: int = 0
    """Sandboxes it has had."""
    room: AsyncExitStack | None = None
    """Its place among those that are alive, if it has one."""
    creations: list[Creation] = field(default_factory=list[Creation])

    @property
    def is_in_doubt(self) -> bool:
        """Whether there may be a sandbox that nobody was told of."""
        return any(creation.is_in_doubt for creation in self.creations)


class E2BSandboxes:
    """Implements `Sandboxes`; open for the length of its `async with` block, which goes inside that of the `Outward`.

    Its upstream must have no rate of its own: creations have theirs here, and every other call goes when it is due.
    """

    def __init__(
        self,
        upstream: Upstream,
        settings: E2BSettings,
        *,
        timing: Timing | None = None,
        room: CallLimit | None = None,
        pace: CallLimit | None = None,
    ) -> None:
        """`room` is for those that are alive and `pace` for making them; without them, this process has its own.

        Raises `ValueError` for a key that no header could hold.
        """
        self._upstream = upstream
        self._settings = settings
        self._timing = timing or Timing()
        self._room = room or Gate(max_concurrent=settings.max_sandboxes, rate=None, timing=self._timing)
        one_by_one = RateWindow.spaced(settings.creations_per_second)
        pace = pace or Gate(max_concurrent=None, rate=one_by_one, timing=self._timing)
        self._account = Account(upstream, settings, pace, self._timing)
        self._runs: dict[RunId, _Run] = {}
        self._tasks = SharedTasks()
        self._endings: dict[asyncio.Task[None], RunId] = {}
        self._doomed: set[str] = set()
        """Ids of sandboxes that are being killed."""
        self._is_open = False

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<E2BSandboxes [{now.open} of {now.limit} open, {now.opening} opening, {now.ending} ending]>"

    @property
    def name(self) -> str:
        """`e2b`."""
        return "e2b"

    def statistics(self) -> E2BStatistics:
        """How many there are."""
        open_now = sum(run.sandbox is not None for run in self._runs.values())
        return E2BStatistics(
            open=open_now,
            opening=len(self._runs) - open_now,
            ending=len(self._endings),
            limit=self._settings.max_sandboxes,
        )

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run_id in list(self._runs):
            await self.release(run_id, is_resumed=False)
        self._is_open = False
        try:
            if self._endings:
                await asyncio.wait(self._endings, timeout=self._settings.close_seconds)
        finally:
            await self._tasks.aclose()

    async def of(self, run_id: RunId, *, is_resumed: bool) -> E2BSandbox:
        """The run's sandbox: opened now, or the one it has. A resumed run finds the one it left, or gets a new one.

        Raises:
            ToolUnavailable: there can be none now.
            ToolTimeout: it did not come in time.

        """
        if not self._is_open:
            raise ToolUnavailable
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = _Run(run_id, may_have_left_one=is_resumed)
        if run.sandbox is not None:
            return run.sandbox
        if run.opening is None or run.opening.done():
            if run.opened > self._settings.max_replacements:
                raise ToolUnavailable("The run has lost so many code sandboxes that it gets no more.")
            run.opening = self._tasks.start(self._opened(run))
        outcome = await self._awaited(run.opening)
        if isinstance(outcome, OutwardError):
            raise opening_error(outcome) from outcome
        return outcome

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Ends the run's sandbox in the background, and awaits nothing: there is nothing to cancel."""
        run = self._runs.pop(run_id, None)
        if run is None and is_resumed:
            run = _Run(run_id, may_have_left_one=True)
        if run is None or not self._is_open:
            return
        for creation in run.creations:
            creation.is_called_off = True
        ending = self._tasks.start(self._end(run))
        self._endings[ending] = run_id
        ending.add_done_callback(self._endings.pop)

    async def sweep(self, unfinished: Callable[[], Awaitable[Collection[RunId]]]) -> int:
        """Ends sandboxes of this deployment whose run is over; how many.

        What E2B fails at is left to the next sweep. What there is is listed first, and what is unfinished asked then: a
        run that begins in between has nothing in the list.
        """
        ending = set(self._endings.values())
        try:
            listed = await self._account.find({DEPLOYMENT_KEY: self._settings.deployment})
        except OutwardError:
            return 0
        kept = {*(await unfinished()), *self._runs, *ending, *self._endings.values()}
        over = [sandbox for sandbox in listed if RunId(sandbox.metadata.get(RUN_KEY, "")) not in kept]
        return sum(await asyncio.gather(*(self._killed(sandbox) for sandbox in over)))

    async def _killed(self, sandbox: Listed) -> bool:
        """Whether one try to kill it did."""
        try:
            await self._account.kill(sandbox.key, sandbox.sandbox_id)
        except OutwardError:
            return False
        return True

    async def _awaited(self, opening: "asyncio.Task[E2BSandbox | OutwardError]") -> E2BSandbox | OutwardError:
        """What comes of opening, if it comes in time; the opening goes on without this call."""
        seconds = self._settings.opening_seconds
        done, _ = await asyncio.wait({opening}, timeout=seconds)
        return opening.result() if done else DeadlinePassed(seconds=seconds, is_idle=False)

    async def _opened(self, run: _Run) -> E2BSandbox | OutwardError:
        """What comes of opening, as a value: there may be nobody left whom an error could be raised to."""
        try:
            run.sandbox = await self._open(run)
        except OutwardError as error:
            return error
        run.opened += 1
        return run.sandbox

    async def _open(self, run: _Run) -> E2BSandbox:
        await self._take_room(run)
        service = await self._account.service()
        had_one = run.opened > 0 or run.may_have_left_one
        found = await self._left_by(run) if run.may_have_left_one else None
        run.may_have_left_one = False
        is_new = found is None
        if found is None:
            is_over = self._runs.get(run.run_id) is not run
            creation = Creation(metadata=self._metadata(run.run_id), is_called_off=is_over)
            run.creations.append(creation)
            found = await self._account.create(creation)
        key, remote = found
        return E2BSandbox(
            remote,
            key=key,
            service=service,
            upstream=self._upstream,
            settings=self._settings,
            on_gone=partial(_forget, run, remote.sandbox_id),
            is_forgetful=had_one and is_new,
        )

    async def _take_room(self, run: _Run) -> None:
        """Counts the run among those that have a sandbox.

        Raises:
            DeadlinePassed: there is no room for one more.

        """
        if run.room is not None:
            return
        seconds = self._settings.opening_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        room = AsyncExitStack()
        await room.enter_async_context(self._room.slot(deadline=deadline, total_seconds=seconds))
        run.room = room

    async def _left_by(self, run: _Run) -> "tuple[str, AsyncSandbox] | None":
        """The sandbox that an earlier attempt left, with all that is in it; further ones are killed."""
        left: tuple[str, AsyncSandbox] | None = None
        for listed in await self._account.find(self._metadata(run.run_id)):
            if left is not None:
                self._tasks.start(self._kill(listed.key, listed.sandbox_id, self._longest_life()))
            elif listed.sandbox_id not in self._doomed:
                with suppress(SandboxGone):
                    left = listed.key, await self._account.connect(listed)
        return left

    async def _end(self, run: _Run) -> None:
        """Sees to it that nothing is left of a run that is over, as long as there may be anything."""
        try:
            if run.opening is not None:
                await asyncio.wait({run.opening})
            if run.sandbox is not None:
                await self._kill(run.sandbox.key, run.sandbox.sandbox_id, run.sandbox.ends_at)
            if run.is_in_doubt or run.may_have_left_one:
                await self._end_unknown(run)
        finally:
            if run.room is not None:
                await run.room.aclose()

    async def _end_unknown(self, run: _Run) -> None:
        """Kills what E2B has of the run, unless a new attempt has begun: then it may be that one's."""
        for wait_seconds in _LOOKS_SECONDS:
            await self._timing.sleep(wait_seconds)
            try:
                found = await self._account.find(self._metadata(run.run_id))
            except OutwardError:
                continue
            again = self._runs.get(run.run_id)
            if again is not None:
                again.may_have_left_one = True
                return
            for listed in found:
                await self._kill(listed.key, listed.sandbox_id, self._longest_life())
            if found or not run.is_in_doubt:
                return

    def _metadata(self, run_id: RunId) -> dict[str, str]:
        return {RUN_KEY: run_id, DEPLOYMENT_KEY: self._settings.deployment}

    def _longest_life(self) -> float:
        return asyncio.get_running_loop().time() + self._settings.life_seconds

    async def _kill(self, key: str, sandbox_id: str, ends_at: float) -> None:
        """Kills a sandbox, again and again until E2B has done it or it has ended by itself."""
        self._doomed.add(sandbox_id)
        wait_seconds = _FIRST_WAIT_SECONDS
        try:
            while True:
                with suppress(OutwardError):
                    return await self._account.kill(key, sandbox_id)
                left_seconds = ends_at - asyncio.get_running_loop().time()
                if left_seconds <= 0:
                    return None
                await self._timing.sleep(min(wait_seconds, left_seconds))
                wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)
        finally:
            self._doomed.discard(sandbox_id)


def _forget(run: _Run, sandbox_id: str) -> None:
    """Lets the run have another sandbox, once, for one that is gone."""
    if run.sandbox is not None and run.sandbox.sandbox_id == sandbox_id:
        run.sandbox = None
