"""Makes a long conversation shorter before research begins: its oldest messages become a summary, or are left out.

The question, the system messages and the newest messages stay as they are. The summary is a step of its own and a turn
of its own, so that it is made once, seen, and counted. A model that does not give one ends nothing: the oldest
messages are left out then, and the model is told so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from thinkpool_pipeline.errors import BudgetExceeded, ModelError, ModelReplyInvalid
from thinkpool_pipeline.loop.conversation import BYTES_PER_TOKEN, cut, estimate
from thinkpool_pipeline.loop.model_turn import ModelTurn, ReportSink
from thinkpool_pipeline.loop.settings import LoopSettings, RunScope
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.values import Message, ModelReply, Question, StepName, Usage

_MAX_WINDOW_SHARE = 2
"""History gets no more than this part of the window, whatever the setting says."""
_CHARACTERS_PER_WORD = 6
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condensed:
    """What became of a conversation's oldest messages."""

    messages: int
    """So many of them, system messages not counted."""
    summary: str = ""
    """In their place; empty where there is none."""
    usage: Usage = field(default_factory=Usage)
    elapsed_seconds: float = 0.0
    """Seconds the run had worked, over all attempts, when this was recorded."""


async def with_short_history(run: RunScope) -> tuple[RunScope, int]:
    """The run with a question whose history is short enough, and the turns that took: 0 or 1.

    Raises:
        RunError: the run cannot go on; a model that fails is no such case.

    """
    settings, history = run.parts.settings, _history(run.question)
    limit_tokens = history_limit(settings)
    if _tokens(history) <= limit_tokens:
        return run, 0
    has_run = False

    async def condense() -> Outcome[Condensed]:
        nonlocal has_run
        has_run = True
        return await _condensed(run, history, limit_tokens)

    condensed = await run.journal.step(StepName("history"), Condensed, condense)
    if not has_run:
        run.meter.resume_at(condensed.elapsed_seconds)
    run.meter.add_tokens(condensed.usage)
    return replace(run, question=_shortened(run.question, condensed)), 1 if condensed.summary else 0


def history_limit(settings: LoopSettings) -> int:
    """The most tokens that the messages before the question may have, as estimated."""
    return min(settings.max_history_tokens, settings.context_tokens // _MAX_WINDOW_SHARE)


async def _condensed(run: RunScope, history: Sequence[Message], limit_tokens: int) -> Outcome[Condensed]:
    """A summary of all but the newest half; without one, as many of the newest as there is room for."""
    old = _older(history, limit_tokens // 2)
    room_characters = (limit_tokens - limit_tokens // 2) * BYTES_PER_TOKEN
    sampling = replace(run.question.sampling, stop=(), max_output_tokens=None)  # the client's are for the answer
    asking = replace(run, question=replace(run.question, sampling=sampling))
    turn = ModelTurn(asking, 1, purpose="history", sink=ReportSink(write=lambda _: None, restart=lambda: None))
    try:
        reply = await _ask(turn, run, history[:old], room_characters)
    except (ModelError, BudgetExceeded) as error:
        turn.retract(error.message)
        dropped = _older(history, limit_tokens)
        return Outcome(value=Condensed(messages=dropped, elapsed_seconds=run.meter.elapsed_seconds))
    condensed = Condensed(
        messages=old,
        summary=cut(reply.text.strip(), room_characters),
        usage=reply.usage,
        elapsed_seconds=reply.elapsed_seconds,
    )
    return Outcome(value=condensed, events=(turn.finished(reply),))


async def _ask(turn: ModelTurn, run: RunScope, old: Sequence[Message], room_characters: int) -> ModelReply:
    task = prompt(
        "history",
        words=str(max(50, room_characters // 2 // _CHARACTERS_PER_WORD)),
        conversation=_transcript(old, run.parts.settings.context_tokens),
    )
    reply = await turn.ask(
        StepName("history"),
        (Message(role="user", content=task),),
        (),
        seconds_left=run.meter.research_seconds_left,
    )
    if not reply.text.strip():
        raise ModelReplyInvalid("The model's summary of the conversation is empty.")
    return reply


def _transcript(messages: Sequence[Message], max_characters: int) -> str:
    """The newest of these messages that may be read, oldest first, each under its speaker."""
    pieces: list[str] = []
    for message in reversed(messages):
        if max_characters <= 0:
            pieces.append("[What was said before this is missing.]")
            break
        pieces.append(f"{_SPEAKERS.get(message.role, 'Tool')}: {cut(message.content, max_characters)}")
        max_characters -= len(message.content)
    return "\n\n".join(reversed(pieces))


def _history(question: Question) -> list[Message]:
    return [message for message in question.messages[:-1] if message.role != "system"]


def _older(history: Sequence[Message], newest_tokens: int) -> int:
    """How many of the oldest messages there are before the newest that have so many tokens together."""
    sizes = _running_totals(reversed(history))
    return len(history) - sum(size <= newest_tokens for size in sizes)


def _running_totals(messages: Iterator[Message]) -> Iterator[int]:
    total = 0
    for message in messages:
        total += estimate(message)
        yield total


def _tokens(messages: Sequence[Message]) -> int:
    return sum(map(estimate, messages))


def _shortened(question: Question, condensed: Condensed) -> Question:
    left = condensed.messages
    kept: list[Message] = []
    for message in question.messages:
        if message.role == "system" or left <= 0:
            kept.append(message)
        else:
            left -= 1
    place = sum(message.role == "system" for message in kept[:1])
    said = (
        f"[Summary of the first {condensed.messages} messages of this conversation]\n\n{condensed.summary}"
        if condensed.summary
        else f"[The first {condensed.messages} messages of this conversation are left out: it was too long.]"
    )
    kept.insert(place, Message(role="user", content=said))
    return replace(question, messages=tuple(kept))
