"""The seams of the library, and nothing else: one verb each, so that a double is ten lines.

Implementations: models in `models/`, tools in `tools/`, the pipeline in `pipeline`, journals in `testing` (memory) and
in the server (database). None of them is known here, and none of them knows another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeAlias, TypeVar

from thinkpool_pipeline.events import RunEvent, SourceFound
from thinkpool_pipeline.values import (
    Answer,
    InputFile,
    ModelDelta,
    ModelReply,
    ModelRequest,
    Question,
    Retraction,
    RunId,
    StepName,
    ToolCall,
    ToolOutput,
    ToolSpec,
)

T = TypeVar("T")

OnDelta: TypeAlias = Callable[[ModelDelta | Retraction], None]
"""Called for each piece of a reply, in order, never after `complete` returned or raised."""


class Model(Protocol):
    """Answers one turn. Implemented by `models.openai_compatible`, `models.builtin` and whatever wraps them."""

    @property
    def name(self) -> str:
        """The model's name, as clients ask for it."""
        ...

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """The whole reply; its pieces go to `on_delta` as they come.

        Raises:
            ModelError: after the retries that its class allows.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What a tool may know of the call it serves."""

    run_id: RunId
    step: StepName
    report_progress: Callable[[str], None]
    """Says one line to the people who watch; cheap, never blocks."""
    is_known_address: Callable[[str], bool] = lambda _: False
    """Whether an address, as `addresses.page_address` gives it, came from the user, a search, or a page read before."""
    files: tuple[InputFile, ...] = ()
    """What came with the question."""
    is_resumed: bool = False
    """Whether an earlier attempt of this run may have left something behind, such as a sandbox."""
    used_tools: frozenset[str] = frozenset()
    """The names of the tools that earlier calls used, in this attempt of the run or one before."""


class Tool(Protocol):
    """Does one thing for a model. It keeps nothing of a run: the run's state comes and goes with the context."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told; constant."""
        ...

    async def __call__(self, arguments: "JsonArguments", context: CallContext) -> ToolOutput:
        """The output for arguments that fit the spec's schema.

        Raises:
            ToolError: what the model may read of a failure. Anything else is a bug and ends the run.

        """
        ...


JsonArguments: TypeAlias = "dict[str, object]"
"""Arguments that were checked against the tool's schema."""


class ToolManager(Protocol):
    """A pipeline's tools: one instance each, so that pipelines share no session, cookie or sandbox."""

    def specs(self) -> Sequence[ToolSpec]:
        """The tools on offer now, in a stable order."""
        ...

    async def call(self, call: ToolCall, context: CallContext) -> ToolOutput:
        """The output of one call.

        Raises:
            ToolError: unknown tool, arguments that do not fit, time-out, a failing service.

        """
        ...

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Lets go of what a run held, whatever ended it; idempotent and bounded in time. Failures are not raised."""
        ...

    async def is_healthy(self) -> bool:
        """Whether the pipeline may be lent again."""
        ...

    async def aclose(self) -> None:
        """Lets go of everything; idempotent."""
        ...


class Toolkit(Protocol):
    """Tools that share something: sessions with a server, a run's sandbox. What is on offer may change."""

    def tools(self) -> Sequence[Tool]:
        """The tools on offer now, in a stable order."""
        ...

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """As `ToolManager.release`."""
        ...

    async def aclose(self) -> None:
        """Lets go of everything; idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """A step's result, and the events that tell of it: recorded together or not at all."""

    value: T
    events: tuple[RunEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TornSteps:
    """What an earlier attempt began and never recorded."""

    turns: frozenset[int] = frozenset()
    """Turns with a `turn.started` that neither finished nor was retracted."""
    calls: "frozenset[str]" = frozenset()
    """Ids of calls with a `tool.started` and no `tool.finished`."""
    sources: "tuple[SourceFound, ...]" = ()
    """Every source that was found, in the order of the log: their numbers are taken."""
    within: "Mapping[str, TornSteps]" = field(default_factory=dict[str, "TornSteps"])
    """The same of each call that researches on its own, by its id; without the sources, which are the run's."""


class Journal(Protocol):
    """A run's record, seen from inside the run: what was done is handed back, what is done is recorded.

    Implemented by `testing.MemoryJournal` and by the server's event store, where a newer owner fences the older one.
    """

    @property
    def run_id(self) -> RunId:
        """The run."""
        ...

    @property
    def is_resumed(self) -> bool:
        """Whether there was an attempt before this one."""
        ...

    @property
    def torn(self) -> TornSteps:
        """What the attempts before this one left: half-done steps, and the sources they found."""
        ...

    def emit(self, event: RunEvent) -> None:
        """Appends one event, soon and in order; consecutive deltas may be merged. Never blocks."""
        ...

    async def step(self, name: StepName, shape: type[T], run: Callable[[], Awaitable[Outcome[T]]]) -> T:
        """The recorded value of this step, of type `shape`; or `run`'s, committed with its events before it returns.

        An exception from `run` is not recorded. A recorded step emits nothing.

        Raises:
            RunSuperseded: another owner has the run.

        """
        ...


class Pipeline(Protocol):
    """One worker with tools of its own; works on one run at a time."""

    @property
    def number(self) -> int:
        """Which pipeline of the replica, from 1; a replacement gets a new number."""
        ...

    @property
    def model_name(self) -> str:
        """The default model's name."""
        ...

    async def run(self, question: Question, journal: Journal) -> Answer:
        """Researches until there is an answer. Everything it learns is told to the journal on the way.

        Raises:
            RunError: the run cannot go on.

        """
        ...

    async def is_healthy(self) -> bool:
        """Whether it may be lent again."""
        ...

    async def aclose(self) -> None:
        """Lets go of everything; idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterStatistics:
    """A limiter at one moment."""

    held: int
    waiting: int
    total: int


class Limiter(Protocol):
    """Bounds how many hold a slot at once; first come, first served."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Holds one slot for the length of the block."""
        ...

    def statistics(self) -> LimiterStatistics:
        """Held, waiting, total."""
        ...


Clock: TypeAlias = Callable[[], float]
"""Seconds from an arbitrary point, never going back."""
