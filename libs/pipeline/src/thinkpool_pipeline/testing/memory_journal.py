"""A run's journal in memory: what a run did, kept as JSON, and handed to the next attempt after a crash on demand."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.draft import torn_steps
from thinkpool_pipeline.events import RunEvent, decode, encode
from thinkpool_pipeline.protocols import Outcome, TornSteps
from thinkpool_pipeline.values import RunId, StepName

T = TypeVar("T")


class SimulatedCrash(BaseException):
    """The process is gone: nothing that follows leaves a trace."""


class MemoryJournal:
    """Implements `Journal`. Values and events go through JSON, as they do in a database.

    With `crash_at=n` the n-th thing that would leave a trace (an event, a step's begin, its commit, its return) raises
    `SimulatedCrash` instead, and whatever comes later is lost.
    """

    def __init__(self, run_id: str = "run-1", *, crash_at: int | None = None) -> None:
        self._run_id = RunId(run_id)
        self._crash_at = crash_at
        self._torn = TornSteps()
        self._log: list[tuple[str, bytes]] = []
        self._steps: dict[str, bytes] = {}
        self._is_crashed = False
        self._is_resumed = False
        self.points = 0
        """How many points at which it could have crashed were passed."""
        self.steps_run: list[StepName] = []
        """The steps that were run in this attempt, in the order they began in."""

    def __repr__(self) -> str:
        return f"<MemoryJournal {self._run_id} [{len(self._log)} events, {len(self._steps)} steps]>"

    @property
    def run_id(self) -> RunId:
        """The run."""
        return self._run_id

    @property
    def is_resumed(self) -> bool:
        """Whether there was an attempt before this one."""
        return self._is_resumed

    @property
    def torn(self) -> TornSteps:
        """What the attempt before this one left half done."""
        return self._torn

    @property
    def events(self) -> list[RunEvent]:
        """All events, of all attempts."""
        return [decode(event_type, data) for event_type, data in self._log]

    @property
    def steps(self) -> dict[str, bytes]:
        """The recorded steps as JSON, by name, in the order they were recorded in."""
        return dict(self._steps)

    def emit(self, event: RunEvent) -> None:
        """Appends one event."""
        self._pass_point()
        self._log.append((event.type, encode(event)))

    async def step(self, name: StepName, shape: type[T], run: Callable[[], Awaitable[Outcome[T]]]) -> T:
        """The recorded value of this step, or `run`'s, recorded with its events."""
        if name in self._steps:
            return from_json(shape, self._steps[name])
        self._pass_point()
        self.steps_run.append(name)
        outcome = await run()
        self._pass_point()
        self._steps[name] = to_json(outcome.value)
        self._log.extend((event.type, encode(event)) for event in outcome.events)
        self._pass_point()
        return outcome.value

    def reopened(self, *, crash_at: int | None = None) -> "MemoryJournal":
        """The journal as the next attempt finds it."""
        journal = MemoryJournal(self._run_id, crash_at=crash_at)
        journal._log = list(self._log)
        journal._steps = dict(self._steps)
        journal._torn = torn_steps(self.events)
        journal._is_resumed = True
        return journal

    def _pass_point(self) -> None:
        if self._is_crashed or self.points == self._crash_at:
            self._is_crashed = True
            raise SimulatedCrash
        self.points += 1
