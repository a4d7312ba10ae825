"""Events as the server's own stream, as JSON pages, and runs as JSON objects. Pure functions, no I/O.

An event's stored bytes go out as they are: nothing is encoded twice. JSON holds no raw line break, so that a frame is
three lines whatever a model or a page said.
"""

from collections.abc import Mapping, Sequence

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.events import EVENT_TYPES, RunCancelled, RunCompleted, RunFailed, StoredEvent
from thinkpool_pipeline.values import Citation, RunId, Seq, Usage

from thinkpool_server.runs import RunRecord

_MIDDLE = {name: f"\nevent: {name}\ndata: ".encode() for name in EVENT_TYPES}
_TRANSIENT = {name: f"event: {name}\ndata: ".encode() for name in EVENT_TYPES}


def frame(event: StoredEvent) -> bytes:
    """The event as one SSE message. A transient one has no id, so that nobody resumes from it.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    if event.seq:
        return b"".join((b"id: ", str(event.seq).encode(), _MIDDLE[event.type], event.data, b"\n\n"))
    return b"".join((_TRANSIENT[event.type], event.data, b"\n\n"))


def frames(batch: Sequence[StoredEvent]) -> bytes:
    """The events as SSE messages, to be sent at once."""
    if len(batch) == 1:
        return frame(batch[0])
    return b"".join([frame(event) for event in batch])


def farewell(last_seq: int) -> bytes:
    """The comment that ends a stream which the server cuts: where to go on."""
    return b": closing; resume with Last-Event-ID %d\n\n" % last_seq


def events_page(events: Sequence[StoredEvent], *, after: Seq, is_past_end: bool = False) -> bytes:
    """A page of events as JSON, with the place behind which the next one begins, and whether there will be none."""
    items = b",".join(
        b'{"seq":%d,"type":"%b","at":%b,"data":%b}'
        % (event.seq, event.type.encode(), orjson.dumps(event.at), event.data)
        for event in events
    )
    next_after = events[-1].seq if events else after
    is_complete = b"true" if (events[-1].is_end if events else is_past_end) else b"false"
    return b'{"events":[%b],"next_after":%d,"is_complete":%b}' % (items, next_after, is_complete)


def links(run_id: RunId) -> dict[str, str]:
    """Where the run's parts are, relative to the server."""
    self_link = f"/v1/research/{run_id}"
    return {
        "self": self_link,
        "events": f"{self_link}/events",
        "report": f"{self_link}/report",
        "cancel": f"{self_link}/cancel",
    }


def run_summary(record: RunRecord) -> dict[str, JsonValue]:
    """The run without its result, as in lists."""
    budget = record.question.budget
    return {
        "id": record.run_id,
        "object": "research",
        "status": record.status,
        "query": record.question.text,
        "model": record.question.model or None,
        "origin": record.origin,
        "priority": record.priority,
        "metadata": dict(record.metadata),
        "files": [
            {"name": file.name, "media_type": file.media_type, "size_bytes": file.size_bytes} for file in record.files
        ],
        "budget": {
            "max_turns": budget.max_turns,
            "max_tool_calls": budget.max_tool_calls,
            "max_tokens": budget.max_tokens,
            "max_seconds": budget.max_seconds,
        },
        "created_at": record.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "attempts": record.epoch,
        "last_event_id": record.last_seq,
        "is_cancel_requested": record.is_cancel_requested,
        "links": dict(links(record.run_id)),
    }


def run_object(record: RunRecord, end: StoredEvent | None) -> dict[str, JsonValue]:
    """The run with its result, once its log has its end event."""
    return {**run_summary(record), "result": None, "error": None, "cancelled_by": None, **_outcome(end)}


def _outcome(end: StoredEvent | None) -> Mapping[str, JsonValue]:
    match end.event() if end else None:
        case RunCompleted() as done:
            ending: dict[str, JsonValue] = {"stop_reason": done.stop_reason, "answer": done.answer}
            return {"result": _result(done.report, done.usage, done.citations) | ending}
        case RunFailed() as failed:
            return {
                "error": {"code": failed.code, "message": failed.message},
                "result": _result(failed.partial_report, failed.usage),
            }
        case RunCancelled() as cancelled:
            return {"cancelled_by": cancelled.by, "result": _result(cancelled.partial_report, cancelled.usage)}
        case _:
            return {}


def _result(report: str, usage: Usage, citations: Sequence[Citation] = ()) -> dict[str, JsonValue]:
    return {
        "report": report,
        "citations": [citation_object(citation) for citation in citations],
        "usage": usage_object(usage),
    }


def usage_object(usage: Usage) -> dict[str, JsonValue]:
    """Tokens, with their sum."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cached_tokens": usage.cached_tokens,
        "total_tokens": usage.total_tokens,
    }


def citation_object(citation: Citation) -> dict[str, JsonValue]:
    """The citation as JSON."""
    return orjson.loads(orjson.dumps(citation))
