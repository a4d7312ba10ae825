"""The tool calls of a turn: which are made, side by side and in order, and what the model is told of the others.

What is planned follows from the calls and the recorded results alone, so a resumed run plans the same. Sources get
their numbers when a call ends, in the same breath in which its outcome goes to the journal; a resumed run knows the
numbers that were given before it makes any call.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

from thinkpool_pipeline.citations import render_for_model
from thinkpool_pipeline.errors import BudgetExceeded, LeakRefused, ToolError, ToolTimeout
from thinkpool_pipeline.events import SourceFound, ToolFinished, ToolProgress, ToolStarted
from thinkpool_pipeline.loop import subtopic
from thinkpool_pipeline.loop.conversation import cut
from thinkpool_pipeline.loop.settings import RunScope
from thinkpool_pipeline.protocols import CallContext, Outcome
from thinkpool_pipeline.values import (
    CitedPassage,
    JsonObject,
    StepName,
    ToolCall,
    ToolOutput,
    ToolResult,
    ToolSpec,
    Usage,
)

ResearchSubtopic: TypeAlias = Callable[[StepName, ToolCall], Awaitable[ToolResult]]
"""Makes a call that researches on its own; arguments are checked. Raises ToolError or BudgetExceeded."""

MAX_SHOWN_CHARACTERS = 20_000
DUPLICATE_CALL = "duplicate-call"
OUT_OF_CALLS = "out-of-calls"
OUT_OF_TIME = "out-of-time"

_EMPTY_HINT = "Nothing was found. Hint: use other words, fewer words, or another tool."
_HINTS = {
    "tool-timeout": " Hint: ask for less, or go another way.",
    "tool-unavailable": " Hint: the service is failing; use another tool, or go on without it.",
}


@dataclass(slots=True, kw_only=True)
class _Planned:
    call: ToolCall
    step: StepName
    answer: ToolResult | None
    """What the model is told instead of making the call."""
    key: str | None
    spec: ToolSpec | None
    """None for a tool that does not exist."""
    is_alone: bool
    is_outward: bool


@dataclass(frozen=True, slots=True)
class _Made:
    """What a call came to, and what is to be told of it."""

    result: ToolResult
    output: ToolOutput = field(default_factory=ToolOutput)
    found: tuple[SourceFound, ...] = ()


@dataclass(slots=True)
class _Earlier:
    step: StepName
    result: ToolResult | None = None
    """None while the call is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResults:
    """What the calls of one turn came to."""

    results: list[ToolResult]
    """In call order."""
    is_progress: bool
    """Whether any call was made, worked, and found something."""
    is_out_of_time: bool
    """Whether the deadline cut any call."""


class ToolCalls:
    """Makes the calls of one run."""

    def __init__(
        self, run: RunScope, is_shown: Callable[[str], bool], research_subtopic: ResearchSubtopic | None = None
    ) -> None:
        self._run = run
        self._is_shown = is_shown
        self._research_subtopic = research_subtopic
        self._cited: list[CitedPassage] = []
        self._earlier: dict[str, _Earlier] = {}
        self._failing: dict[str, str] = {}
        self._used: set[str] = set()
        self._is_any_made = False

    @property
    def is_any_made(self) -> bool:
        """Whether any call of the run was made."""
        return self._is_any_made

    @property
    def cited(self) -> tuple[CitedPassage, ...]:
        """Every passage that a call brought home, in call order."""
        return tuple(self._cited)

    @property
    def failing(self) -> dict[str, str]:
        """The tools whose newest call failed without the model's fault, and the error's code."""
        return dict(self._failing)

    async def execute(self, turn: int, calls: Sequence[ToolCall], specs: Sequence[ToolSpec]) -> TurnResults:
        """The results of a turn's calls.

        Raises:
            RunError: the journal did not take a result. A `ToolError` is a result.

        """
        known = {spec.name: spec for spec in specs}
        planned = [self._plan(turn, index, call, known.get(call.name)) for index, call in enumerate(calls, 1)]
        results: list[ToolResult] = []
        for batch in _batches(planned):
            results += await _in_order([self._step(turn, item) for item in batch])
        for item, result in zip(planned, results, strict=True):
            self._remember(item, result)
        is_progress = any(
            item.answer is None and result.ok and not result.is_empty
            for item, result in zip(planned, results, strict=True)
        )
        is_out_of_time = any(result.error_code == OUT_OF_TIME for result in results)
        return TurnResults(results=results, is_progress=is_progress, is_out_of_time=is_out_of_time)

    def _plan(self, turn: int, index: int, call: ToolCall, spec: ToolSpec | None) -> _Planned:
        step = StepName(f"turn/{turn}/call/{index}")
        is_repeatable = spec is not None and not spec.is_parallel_safe  # what it does depends on what was done before
        key = None if spec is None or call.malformed or is_repeatable else _key(call, spec)
        answer = self._repeated(call, key) if key else None
        if answer is None and not self._run.meter.reserve_tool_call():
            answer = _told(call, OUT_OF_CALLS, "The run may make no more tool calls. Hint: work with what there is.")
        if answer is None:
            self._is_any_made = True
            if key:
                self._earlier[key] = _Earlier(step)
        is_alone = spec is not None and not spec.is_parallel_safe
        is_outward = spec is not None and spec.is_outward
        return _Planned(
            call=call, step=step, answer=answer, key=key, spec=spec, is_alone=is_alone, is_outward=is_outward
        )

    def _repeated(self, call: ToolCall, key: str) -> ToolResult | None:
        earlier = self._earlier.get(key)
        if earlier is None:
            return None
        result = earlier.result
        if result is None or self._is_shown(result.call_id):
            where = " ".join(earlier.step.split("/"))
            text = f"The same call was made before ({where}). Hint: ask for something else, or for the next page."
            return _told(call, DUPLICATE_CALL, text)
        return replace(result, call_id=call.call_id, is_cached=True, duration_seconds=0.0)

    def _remember(self, item: _Planned, result: ToolResult) -> None:
        if item.answer is not None:
            return
        self._cited += result.passages
        self._run.private.learn_passages(cited.passage for cited in result.passages)
        if item.key and result.ok and not result.is_empty:
            self._earlier[item.key].result = result
        elif item.key:
            del self._earlier[item.key]
        if result.ok:
            self._failing.pop(result.name, None)
        elif result.error_code and result.error_code.startswith("tool-"):
            self._failing[result.name] = result.error_code

    async def _step(self, turn: int, item: _Planned) -> ToolResult:
        has_run = False

        async def run() -> Outcome[ToolResult]:
            nonlocal has_run
            has_run = True
            return await self._outcome(turn, item)

        result = await self._run.journal.step(item.step, ToolResult, run)
        if not has_run:
            self._run.registry.restore(result.passages)
            self._run.meter.add_tokens(result.usage)
            self._run.meter.add_tool_calls(result.tool_calls)
            self._run.meter.resume_at(result.elapsed_seconds)
            self._run.meter.new_warnings()
        if item.answer is None:
            self._used.add(item.call.name)
        return result

    async def _outcome(self, turn: int, item: _Planned) -> Outcome[ToolResult]:
        run = self._run
        began_at = run.parts.clock()
        made = await self._made(turn, item)
        run.meter.add_tokens(made.result.usage)
        run.meter.add_tool_calls(made.result.tool_calls)
        result = replace(
            made.result,
            duration_seconds=run.parts.clock() - began_at,
            elapsed_seconds=run.meter.elapsed_seconds,
        )
        finished = _finished(result, made.output)
        return Outcome(value=result, events=(finished, *made.found, *run.meter.new_warnings()))

    async def _made(self, turn: int, item: _Planned) -> "_Made":
        call = item.call
        if item.answer is not None:
            self._say_started(turn, item)
            return _Made(replace(item.answer, usage=Usage(), tool_calls=0))
        if item.is_outward and self._run.private.is_in(call.arguments):
            self._say_started(turn, item)
            return _Made(_told(call, LeakRefused.code, f"{LeakRefused()} Hint: ask in words of your own."))
        try:
            if self._research_subtopic is not None and call.name == subtopic.SPEC.name:
                self._say_started(turn, item)
                return _Made(await self._research_subtopic(item.step, call))
            output = await self._output(turn, item)
        except ToolError as error:
            return _Made(_told(call, error.code, f"{error.message}{_HINTS.get(error.code, '')}"))
        except BudgetExceeded:
            return _Made(_told(call, OUT_OF_TIME, "The time for research was up before this call ended."))
        registration = self._run.registry.register(output.passages)
        text = render_for_model(output.text, registration.cited)
        result = replace(self._result(call, output, text), passages=registration.cited)
        return _Made(result, output, registration.found)

    async def _output(self, turn: int, item: _Planned) -> ToolOutput:
        run = self._run
        scope = asyncio.timeout(max(run.meter.research_seconds_left, 0.0))
        is_started = False
        try:
            async with scope, run.slots:
                self._say_started(turn, item)
                is_started = True
                return await self._call_in_time(item)
        except TimeoutError as error:
            if not scope.expired():
                raise
            if not is_started:
                self._say_started(turn, item)
            raise run.meter.out_of_time() from error

    async def _call_in_time(self, item: _Planned) -> ToolOutput:
        parts = self._run.parts
        scope = asyncio.timeout(parts.settings.call_timeout_seconds)
        try:
            async with scope:
                return await parts.tools.call(item.call, self._context(item))
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise ToolTimeout from error

    def _result(self, call: ToolCall, output: ToolOutput, text: str) -> ToolResult:
        is_empty = output.is_empty or not text
        if is_empty:
            text = f"{text}\n{_EMPTY_HINT}".lstrip()
        return ToolResult(
            call_id=call.call_id,
            name=call.name,
            ok=True,
            content=cut(text, self._run.parts.settings.max_tool_result_chars),
            summary=output.summary or ("nothing found" if is_empty else ""),
            is_cached=output.is_cached,
            is_empty=is_empty,
            usage=output.usage,
        )

    def _say_started(self, turn: int, item: _Planned) -> None:
        call, spec = item.call, item.spec
        self._run.journal.emit(
            ToolStarted(
                turn=turn,
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
                attempt=2 if call.call_id in self._run.journal.torn.calls else 1,
                server=spec.server if spec else "",
                remote_name=spec.remote_name if spec else "",
            )
        )

    def _context(self, item: _Planned) -> CallContext:
        def report_progress(text: str) -> None:
            self._run.journal.emit(ToolProgress(call_id=item.call.call_id, text=text))

        journal = self._run.journal
        return CallContext(
            run_id=journal.run_id,
            step=StepName(f"{self._run.prefix}{item.step}"),
            report_progress=report_progress,
            is_known_address=self._run.addresses.__contains__,
            files=self._run.files,
            is_resumed=journal.is_resumed,
            used_tools=frozenset(self._used),
        )


def _batches(planned: Sequence[_Planned]) -> list[list[_Planned]]:
    """Calls that may run side by side together; a call that may not, alone. Call order is kept."""
    batches: list[list[_Planned]] = []
    for item in planned:
        if batches and not item.is_alone and not batches[-1][-1].is_alone:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


async def _in_order(steps: Sequence[Coroutine[None, None, ToolResult]]) -> list[ToolResult]:
    """All results, in the order of the steps; the first error ends the others and comes out as itself."""
    if len(steps) == 1:
        return [await steps[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", first)) if isinstance(first, BaseExceptionGroup) else first


def _told(call: ToolCall, code: str, text: str) -> ToolResult:
    """A failed result: what the model reads instead of an output."""
    return ToolResult(
        call_id=call.call_id, name=call.name, ok=False, content=f"Error: {text}", summary=text, error_code=code
    )


def _finished(result: ToolResult, output: ToolOutput) -> ToolFinished:
    return ToolFinished(
        call_id=result.call_id,
        name=result.name,
        ok=result.ok,
        summary=result.summary,
        duration_seconds=result.duration_seconds,
        cached=result.is_cached,
        error=result.error_code,
        usage=result.usage,
        output=cut(output.shown, MAX_SHOWN_CHARACTERS),
        files=output.files,
    )


def _key(call: ToolCall, spec: ToolSpec) -> str:
    """What makes two calls the same: the tool and its arguments, defaults filled in, white space around text aside."""
    properties = cast("dict[str, JsonObject]", spec.parameters.get("properties", {}))
    arguments = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    for name, value in call.arguments.items():
        if value is not None:
            arguments[name] = value.strip() if isinstance(value, str) else value
    return json.dumps([call.name, arguments], sort_keys=True)
