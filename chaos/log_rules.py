"""What is stored: every accepted run ended, once, with a log that could have happened."""

from collections.abc import Iterator

import orjson
from thinkpool_pipeline.events import END_TYPES, decode
from thinkpool_pipeline.testing.event_checker import IllegalLog, check_event_log

from chaos.finding import Finding, FindingName
from chaos.history import Chat, History, RunState

_STATUS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}


def log_findings(history: History, *, must_complete: bool) -> Iterator[Finding]:
    """What is wrong with runs as they were read back, and with chats that ended well."""
    states = {state.run_id: state for state in history.runs}
    for run_id in sorted(history.accepted - states.keys()):
        yield Finding(name="unknown-run", subject=run_id, detail="it was accepted, and nobody knows of it")
    for state in history.runs:
        if state.status == "unknown":
            yield _finding("unknown-run", state, "it was accepted, and the service does not know it")
        else:
            yield from _of_state(state, must_complete=must_complete)
    for chat in history.chats:
        yield from _of_chat(chat, states)


def _of_state(state: RunState, *, must_complete: bool) -> Iterator[Finding]:
    numbers = [event.seq for event in state.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield _finding("stored-gap", state, f"its events are numbered {numbers}")
    ends = [event for event in state.events if event.type in END_TYPES]
    if not ends:
        yield _finding("unended-run", state, f"its status is {state.status}; {len(numbers)} events, no end")
        return
    if len(ends) > 1:
        yield _finding("two-terminals", state, f"it has {len(ends)} end events")
    elif state.events[-1] is not ends[0]:
        yield _finding("event-after-terminal", state, f"{state.events[-1].type} follows {ends[0].type} in the log")
    else:
        yield from _legality(state)
    if state.status != _STATUS[ends[-1].type]:
        yield _finding("status-differs", state, f"its status is {state.status}, and it ended with {ends[-1].type}")
    if must_complete and ends[-1].type != "run.completed":
        data = ends[-1].data
        why = data.get("code") or data.get("by")
        yield _finding("unexpected-ending", state, f"{ends[-1].type} ({why})")


def _legality(state: RunState) -> Iterator[Finding]:
    try:
        check_event_log([decode(event.type, orjson.dumps(event.data)) for event in state.events])
    except (IllegalLog, ValueError) as error:
        yield _finding("illegal-log", state, str(error))


def _of_chat(chat: Chat, states: dict[str, RunState]) -> Iterator[Finding]:
    state = states.get(chat.run_id)
    report = state.events[-1].data.get("report") if state is not None and state.events else None
    if chat.content.rstrip() != str(report).rstrip():
        detail = "a chat stream ended well with another text than the run's report"
        yield Finding(name="chat-differs", subject=chat.run_id, detail=detail)


def _finding(name: FindingName, state: RunState, detail: str) -> Finding:
    return Finding(name=name, subject=state.run_id, detail=detail)
