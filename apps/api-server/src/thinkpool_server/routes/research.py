"""The native routes: a question becomes a run, and a run is read, followed, stopped and forgotten."""

import re
from collections.abc import Sequence
from typing import Annotated, cast

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import JsonValue
from starlette.responses import Response
from thinkpool_pipeline.events import RunCancelled, RunCompleted, RunFailed, StoredEvent
from thinkpool_pipeline.values import Seq

from thinkpool_server.errors import InvalidEventId, NoReport, ReportNotReady
from thinkpool_server.event_stream import EventStream
from thinkpool_server.projections import native
from thinkpool_server.protocols import RunReader, Runtime
from thinkpool_server.report_rendering import PAGE_POLICY, report_page
from thinkpool_server.routes.dependencies import (
    RUN_ID_HEADER,
    CheckedRunId,
    CurrentAsker,
    CurrentRuntime,
    CurrentTenant,
    forget_body,
)
from thinkpool_server.routes.negotiation import preferred
from thinkpool_server.runs import RunRecord, RunStatus, Tenant
from thinkpool_server.schemas import ResearchRequest
from thinkpool_server.submissions import research_submission

router = APIRouter(prefix="/v1/research", tags=["research"])

_JSON = "application/json"
_SSE = "text/event-stream"
_MARKDOWN = "text/markdown"
_HTML = "text/html"
_EVENT_ID = re.compile(r"[0-9]{1,15}")


@router.post("", status_code=202)
async def start_run(body: ResearchRequest, request: Request, runtime: CurrentRuntime, asker: CurrentAsker) -> Response:
    """Makes a run: 202 with its links at once, or its event stream if the client accepts one or sets `stream`."""
    submission = research_submission(body, asker)
    forget_body(request, body.messages, body.input_files)
    record, is_new = await runtime.service.submit(submission)
    self_link = native.links(record.run_id)["self"]
    headers: dict[str, str] = {RUN_ID_HEADER: record.run_id}
    if not is_new:
        headers["Idempotency-Replayed"] = "true"
    if body.stream or preferred(request.headers.get("accept", ""), (_JSON, _SSE)) == _SSE:
        return _stream(runtime, record, after=Seq(0), headers=headers | {"Location": f"{self_link}/events"})
    accepted: dict[str, JsonValue] = {
        "id": record.run_id,
        "status": record.status,
        "links": cast("JsonValue", native.links(record.run_id)),
    }
    return _json(accepted, status=202, headers=headers | {"Location": self_link})


@router.get("")
async def list_runs(
    runtime: CurrentRuntime,
    tenant: CurrentTenant,
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="The size of a page.")] = 20,
    status: Annotated[RunStatus | None, Query(description="Only runs that are so.")] = None,
) -> Response:
    """The tenant's runs, newest first."""
    page = await runtime.service.list(tenant, cursor=cursor, max_runs=limit, status=status)
    return _json({"runs": [native.run_summary(record) for record in page.runs], "next_cursor": page.next_cursor})


@router.get("/{run_id}")
async def get_run(run_id: CheckedRunId, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """The run's state, and its result once it has ended."""
    record = await runtime.service.get(tenant, run_id)
    return _json(native.run_object(record, await _end_of(runtime, tenant, record)))


@router.get("/{run_id}/events")
async def read_events(
    run_id: CheckedRunId,
    request: Request,
    runtime: CurrentRuntime,
    tenant: CurrentTenant,
    after: Annotated[
        str | None,
        Query(
            description="The `seq` of the last event that the client has.",
            json_schema_extra={"pattern": f"^{_EVENT_ID.pattern}$"},
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The size of a page.")] = 500,
) -> Response:
    """The run's events behind `Last-Event-ID` or `after`: as a stream that follows the run, or as a JSON page.

    204 when there is nothing more and never will be, which stops an EventSource.
    """
    record = await runtime.service.get(tenant, run_id)
    place = _place(request.headers.get("last-event-id") or after, record)
    headers = {RUN_ID_HEADER: record.run_id, "Vary": "Accept"}
    is_past_end = record.is_ended and place == record.last_seq
    if preferred(request.headers.get("accept", ""), (_JSON, _SSE)) == _SSE:
        if is_past_end:
            return Response(status_code=204, headers=headers)
        return _stream(runtime, record, after=place, headers=headers)
    events = await runtime.service.read_page(tenant, run_id, after=place, max_events=limit)
    page = native.events_page(events, after=place, is_past_end=is_past_end)
    return Response(page, headers=headers, media_type=_JSON)


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: CheckedRunId, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """The run after it was told to stop. Again and again the same."""
    record = await runtime.service.cancel(tenant, run_id)
    return _json(native.run_object(record, await _end_of(runtime, tenant, record)))


@router.delete("/{run_id}", status_code=204)
async def delete_run(run_id: CheckedRunId, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """Forgets the run, its events and its report."""
    await runtime.service.delete(tenant, run_id)
    return Response(status_code=204)


@router.get("/{run_id}/report")
async def read_report(
    run_id: CheckedRunId, request: Request, runtime: CurrentRuntime, tenant: CurrentTenant
) -> Response:
    """The report as Markdown, HTML or JSON. Of a run that failed or was stopped, as much as there was."""
    record = await runtime.service.get(tenant, run_id)
    if not record.is_ended:
        raise ReportNotReady
    end = await _end_of(runtime, tenant, record)
    report, is_partial = _report_of(end)
    if not report:
        raise NoReport
    headers = {"Vary": "Accept", "X-ThinkPool-Report": "partial" if is_partial else "complete"}
    match preferred(request.headers.get("accept", ""), (_MARKDOWN, _HTML, _JSON)):
        case "text/html":
            headers["Content-Security-Policy"] = PAGE_POLICY
            return Response(report_page(report, title=record.question.text), headers=headers, media_type=_HTML)
        case "application/json":
            fields = native.run_object(record, end)
            return _json({"id": run_id, "is_partial": is_partial, "result": fields["result"]}, headers=headers)
        case _:
            return Response(report, headers=headers, media_type=_MARKDOWN)


def _stream(runtime: Runtime, record: RunRecord, *, after: Seq, headers: dict[str, str]) -> Response:
    last_seq = int(after)

    def render(batch: Sequence[StoredEvent]) -> bytes:
        nonlocal last_seq
        last_seq = batch[-1].seq or last_seq
        return native.frames(batch)

    def conclude(reader: RunReader) -> bytes:
        return native.farewell(last_seq) if reader.is_cut else b""

    return EventStream(
        runtime.service.follow(record, after=after),
        settings=runtime.settings,
        render=render,
        conclude=conclude,
        headers=headers,
    )


async def _end_of(runtime: Runtime, tenant: Tenant, record: RunRecord) -> StoredEvent | None:
    if not record.is_ended:
        return None
    page = await runtime.service.read_page(tenant, record.run_id, after=Seq(record.last_seq - 1), max_events=1)
    return page[0] if page and page[0].is_end else None


def _report_of(end: StoredEvent | None) -> tuple[str, bool]:
    match end.event() if end else None:
        case RunCompleted(report=report):
            return report, False
        case RunFailed(partial_report=report) | RunCancelled(partial_report=report):
            return report, True
        case _:
            return "", True


def _place(given: str | None, record: RunRecord) -> Seq:
    if given is None:
        return Seq(0)
    if not _EVENT_ID.fullmatch(given):
        raise InvalidEventId
    if int(given) > record.last_seq:
        raise InvalidEventId("The event id is ahead of the run's log.")
    return Seq(int(given))


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers=headers, media_type=_JSON)
