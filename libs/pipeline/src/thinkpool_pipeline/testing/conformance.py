"""One check a Protocol: what every implementation and every double has in common. Each raises AssertionError."""

import asyncio
from collections.abc import Awaitable, Callable

from thinkpool_pipeline.errors import ModelError, PipelineError, ToolError
from thinkpool_pipeline.events import TurnStarted
from thinkpool_pipeline.protocols import (
    CallContext,
    Journal,
    Limiter,
    Model,
    Outcome,
    Pipeline,
    Tool,
    ToolManager,
)
from thinkpool_pipeline.testing.event_checker import check_pipeline_log
from thinkpool_pipeline.testing.memory_journal import MemoryJournal
from thinkpool_pipeline.values import (
    Answer,
    JsonObject,
    Message,
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

_PATIENCE_SECONDS = 10.0


async def check_model(model: Model, request: ModelRequest | None = None) -> ModelReply:
    """A model that can answer: its pieces add up to its reply, with a listener and without; cancelling it ends it."""
    request = request or ModelRequest(messages=(Message(role="user", content="Say something."),))
    pieces: list[ModelDelta | Retraction] = []
    async with asyncio.timeout(_PATIENCE_SECONDS):
        reply = await model.complete(request, pieces.append)
        heard = len(pieces)
        await asyncio.sleep(0)
        await model.complete(request)
    _expect(bool(model.name), "a model has a name")
    _expect(len(pieces) == heard, "nothing streams after the reply")
    counted = pieces[max((n for n, piece in enumerate(pieces, 1) if isinstance(piece, Retraction)), default=0) :]
    deltas = [piece for piece in counted if isinstance(piece, ModelDelta)]
    _expect(all(delta.text for delta in deltas), "a delta has text")
    for kind, whole in (("text", reply.text), ("reasoning", reply.reasoning)):
        streamed = "".join(delta.text for delta in deltas if delta.kind == kind)
        _expect(streamed.strip() == whole.strip(), f"the streamed {kind} is the reply's")
    for call in reply.tool_calls:
        _expect(bool(call.name), "a call names its tool")
    await _check_cancels(lambda: model.complete(request))
    return reply


async def check_failing_model(model: Model, error: type[ModelError], request: ModelRequest | None = None) -> ModelError:
    """A model that cannot answer raises this error, in bounded time and in words fit for a client."""
    request = request or ModelRequest(messages=(Message(role="user", content="Say something."),))
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await model.complete(request)
    except ModelError as raised:
        _expect(isinstance(raised, error), f"{type(raised).__name__} is a {error.__name__}")
        _expect(bool(raised.message), "an error says what is wrong")
        return raised
    raise AssertionError(f"it did not raise {error.__name__}")


async def check_tool(tool: Tool, arguments: JsonObject) -> ToolOutput:
    """A tool that works: a sound spec, and an output whose passages have their document and their words."""
    _check_spec(tool.spec)
    _expect(tool.spec == tool.spec, "a tool's spec is constant")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        output = await tool(dict[str, object](arguments), context())
    _check_output(output)
    await _check_cancels(lambda: tool(dict[str, object](arguments), context()))
    return output


async def check_tool_manager(manager: ToolManager, call: ToolCall) -> ToolOutput:
    """A manager with at least one tool, and a call that works; it is closed afterwards."""
    specs = manager.specs()
    _expect(len({spec.name for spec in specs}) == len(specs) > 0, "tools have names of their own")
    _expect(tuple(specs) == tuple(manager.specs()), "the order of the tools is stable")
    for spec in specs:
        _check_spec(spec)
    _expect(await manager.is_healthy(), "a new manager is healthy")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        output = await manager.call(call, context())
        _check_output(output)
        unknown = ToolCall(call_id="x", name="no_such_tool_secret")
        await _raises_tool_error(lambda: manager.call(unknown, context()), "unknown-tool")
        malformed = ToolCall(call_id="x", name=call.name, malformed="it breaks off")
        await _raises_tool_error(lambda: manager.call(malformed, context()), "invalid-arguments")
        await _check_cancels(lambda: manager.call(call, context()))
        await manager.aclose()
        await manager.aclose()
        _expect(not await manager.is_healthy(), "a closed manager is not healthy")
        await _raises_tool_error(lambda: manager.call(call, context()), "tool-unavailable")
    return output


async def check_journal(journal: Journal, reopen: Callable[[], Awaitable[Journal]] | None = None) -> None:
    """A new run's journal: a step is run once and then handed back; one that raised is run again; `torn` tells.

    With `reopen`, which gives the journal of the next attempt, it is asked for the same steps again.
    """
    runs: list[str] = []
    reply = ModelReply(text="é \u2028 \U0001f600", reasoning="why", tool_calls=(ToolCall(call_id="c", name="n"),))

    def succeeding(name: str) -> Callable[[], Awaitable[Outcome[ModelReply]]]:
        async def run() -> Outcome[ModelReply]:
            runs.append(name)
            return Outcome(value=reply)

        return run

    async def failing() -> Outcome[ModelReply]:
        runs.append("failing")
        raise ToolError

    _expect(bool(journal.run_id), "a journal has a run")
    _expect(not journal.torn.turns and not journal.torn.calls, "a new run has nothing torn")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        journal.emit(TurnStarted(turn=1, purpose="research"))
        for _ in range(2):
            await _raises_tool_error(lambda: journal.step(StepName("turn/1"), ModelReply, failing), "tool-error")
        for _ in range(2):
            _expect(
                await journal.step(StepName("turn/1"), ModelReply, succeeding("1")) == reply, "a step gives its value"
            )
        both = await asyncio.gather(
            *(journal.step(StepName(f"turn/2/call/{n}"), ModelReply, succeeding("2")) for n in (1, 2))
        )
        _expect(both == [reply, reply], "steps run side by side")
        _expect(runs == ["failing", "failing", "1", "2", "2"], "only what is not recorded is run")
        if reopen is None:
            return
        again = await reopen()
        _expect(again.run_id == journal.run_id, "the run stays the same")
        _expect(await again.step(StepName("turn/1"), ModelReply, succeeding("again")) == reply, "a step is handed back")
    _expect("again" not in runs, "what an earlier attempt recorded is not run")
    _expect(set(again.torn.turns) == {1}, "a turn that was begun and not finished is torn")


async def check_pipeline(pipeline: Pipeline, question: Question) -> Answer:
    """A pipeline that can answer: a legal log, the same again on a second run, and again from its own journal."""
    _expect(pipeline.number >= 1 and bool(pipeline.model_name), "a pipeline has a number and a model")
    _expect(await pipeline.is_healthy(), "a new pipeline is healthy")
    journal = MemoryJournal()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        answer = await pipeline.run(question, journal)
        check_pipeline_log(journal.events)
        replayed = journal.reopened()
        _expect(await pipeline.run(question, replayed) == answer, "a recorded run gives the same answer")
        _expect(not replayed.steps_run, "a recorded run runs nothing")
        second = await pipeline.run(question, MemoryJournal("run-2"))
        _expect(second.report == answer.report, "nothing of one run shows in the next")
        await _check_cancels(lambda: pipeline.run(question, MemoryJournal("run-3")))
        _expect(await pipeline.is_healthy(), "a cancelled run leaves its pipeline healthy")
        await pipeline.aclose()
        await pipeline.aclose()
        _expect(not await pipeline.is_healthy(), "a closed pipeline is not healthy")
    return answer


async def check_limiter(limiter: Limiter) -> None:
    """An unused limiter: it bounds, serves in order, survives cancellation, and its figures return to zero."""
    total = limiter.statistics().total
    order: list[int] = []
    release = asyncio.Event()

    async def hold(number: int) -> None:
        async with limiter.slot():
            order.append(number)
            await release.wait()

    async with asyncio.timeout(_PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold(number)) for number in range(total + 4)]
        await _settle()
        now = limiter.statistics()
        _expect((now.held, now.waiting) == (total, 4), "as many hold a slot as there are, the others wait")
        tasks[total].cancel()
        tasks[0].cancel()
        await _settle()
        _expect(order[-1] == total + 1, "a cancelled holder's slot goes to the first who still waits")
        release.set()
    now = limiter.statistics()
    _expect((now.held, now.waiting) == (0, 0), "afterwards nothing is held")
    _expect(order == [n for n in range(total + 4) if n != total], "first come, first served")


def context() -> CallContext:
    """A call's context that goes nowhere."""
    return CallContext(run_id=RunId("run-1"), step=StepName("turn/1/call/1"), report_progress=lambda _: None)


async def _check_cancels(work: Callable[[], Awaitable[object]]) -> None:
    """Cancelling the work at its first await ends it with `CancelledError`, if it awaits at all."""

    async def run() -> None:
        await work()

    async with asyncio.timeout(_PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        task = group.create_task(run())
        await asyncio.sleep(0)
        was_done = task.done()
        task.cancel()
    _expect(was_done or task.cancelled(), "cancellation comes out as cancellation")


async def _raises_tool_error(work: Callable[[], Awaitable[object]], code: str) -> None:
    try:
        await work()
    except PipelineError as error:
        _expect(error.code == code, f"the error is {code}, not {error.code}")
        _expect("secret" not in error.message, "an error does not echo its input")
        return
    raise AssertionError(f"it did not raise {code}")


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _check_spec(spec: ToolSpec) -> None:
    _expect(spec.name.replace("_", "").isalnum() and spec.name == spec.name.lower(), "a tool's name is plain")
    _expect(bool(spec.description), "a tool has a description")
    _expect(spec.parameters.get("type") == "object", "a tool takes an object")


def _check_output(output: ToolOutput) -> None:
    _expect(bool(output.text or output.passages or output.is_empty), "an output holds something or says it is empty")
    for passage in output.passages:
        _expect(bool(passage.document and passage.text), "a passage has its document and its words")


def _expect(is_so: bool, rule: str) -> None:
    if not is_so:
        raise AssertionError(rule)
