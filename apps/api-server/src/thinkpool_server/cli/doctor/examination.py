"""All checks side by side, each with a time limit of its own: one that hangs or fails says so, and spoils no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final, TypeAlias

from thinkpool_server.cli.doctor.clock import ClockReading, clock_findings
from thinkpool_server.cli.doctor.findings import Finding, problem, warning
from thinkpool_server.data_directory import Holder
from thinkpool_server.settings import Settings

CHECK_SECONDS: Final = 12.0
"""The most that one check may take, unless it says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined, and what checks tell each other."""

    settings: Settings
    wrong: frozenset[str] = frozenset()
    """Settings that are wrong, by their variables' names: their defaults stand in `settings`."""
    holder: Holder | None = None
    """Who uses the data directory now."""
    is_paid: bool = False
    """Whether a model may be asked for a word."""
    clocks: list[ClockReading] = field(default_factory=list[ClockReading])
    """Other machines' clocks, as checks came across them."""


Examine: TypeAlias = Callable[[Subject], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at."""

    name: str
    examine: Examine
    needs: frozenset[str] = frozenset()
    """Settings without which there is nothing to look at, by their variables' names."""
    seconds: float = CHECK_SECONDS


class DaemonThreads(ThreadPoolExecutor):
    """A thread for each piece of work, that nobody waits for at the end: a lookup of a name may hang for long."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Starts the work at once."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 -- whoever waits gets it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(result)

        Thread(target=work, daemon=True).start()
        return future


async def examine(subject: Subject, checks: Sequence[Check], on_done: Callable[[Check], None]) -> list[Finding]:
    """What the checks find, in their order, and last what the clocks say; `on_done` is told of each that has ended."""

    async def bounded(check: Check) -> Sequence[Finding]:
        try:
            return await _examined(check, subject)
        finally:
            on_done(check)

    outcomes = await asyncio.gather(*(bounded(check) for check in checks), return_exceptions=True)
    found: list[Finding] = []
    for check, outcome in zip(checks, outcomes, strict=True):
        found.extend([_failed(check, outcome)] if isinstance(outcome, BaseException) else outcome)
    return [*found, *clock_findings(subject.clocks)]


async def _examined(check: Check, subject: Subject) -> Sequence[Finding]:
    if wrong := ", ".join(sorted(check.needs & subject.wrong)):
        return [warning(check.name, f"not looked at, because of {wrong}", mend=f"correct {wrong}, then ask again")]
    timeout = asyncio.timeout(check.seconds)
    try:
        async with timeout:
            return await check.examine(subject)
    except TimeoutError:
        if not timeout.expired():
            raise
        return [
            problem(
                check.name,
                f"hangs: nothing was found out within {check.seconds:g} s",
                mend="look at the machine that it asks, and at the network between: something takes and never answers",
            )
        ]


def _failed(check: Check, error: BaseException) -> Finding:
    return problem(
        check.name,
        f"the check itself failed ({type(error).__name__})",
        mend="this is a fault of ThinkPool's; the server may work all the same",
    )
