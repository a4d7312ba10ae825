"""OpenAI's responses: a run in the foreground or in the background, read as often as one likes, from any place on."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response
from thinkpool_pipeline.codec import to_json
from thinkpool_pipeline.errors import EventsExpired, ShuttingDown, UnknownRun
from thinkpool_pipeline.events import RunCancelled, RunCompleted, RunFailed, StoredEvent
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.error_responses import failure_of, respond
from thinkpool_server.errors import NotInBackground, UnknownPreviousResponse
from thinkpool_server.event_stream import EventStream
from thinkpool_server.projections.responses import (
    NOTHING,
    ResponseHead,
    ResponseProjection,
    input_items,
    is_stored,
    response_head,
    response_id,
    run_id_of,
)
from thinkpool_server.protocols import RunReader, Runtime
from thinkpool_server.response_requests import (
    AvailableTools,
    Earlier,
    ResponseRequest,
    included,
    response_submission,
)
from thinkpool_server.routes.dependencies import (
    RUN_ID_HEADER,
    CurrentAsker,
    CurrentRuntime,
    CurrentTenant,
    checked_run_id,
    forget_body,
    id_in_path,
)
from thinkpool_server.routes.stored_runs import stored_run
from thinkpool_server.routes.whole_answers import CLIENT_LEFT, gathered
from thinkpool_server.runs import RunRecord, Tenant

router = APIRouter(prefix="/v1/responses", tags=["openai"])

_PAGE_EVENTS = 500
_JSON = "application/json"


async def _run_of_response(
    response_id: Annotated[str, id_in_path("The response, or any run of the tenant.", "resp_1k3qv9")],
) -> RunId:
    return await checked_run_id(run_id_of(response_id))


ResponseRun = Annotated[RunId, Depends(_run_of_response)]
Included = Annotated[
    list[str] | None, Query(alias="include[]", max_length=20, description="The same, as OpenAI's clients write it.")
]


@router.post("")
async def create_response(
    body: ResponseRequest, request: Request, runtime: CurrentRuntime, asker: CurrentAsker
) -> Response:
    """The report on the input, as OpenAI's response: whole, as a stream, or on its way in the background."""
    earlier = await _earlier(runtime, asker.tenant, body.previous_response_id)
    available = AvailableTools.of(runtime.service.statistics().tools)
    submission = response_submission(body, asker, available, earlier)
    forget_body(request, None)
    body.input.clear()
    record, is_new = await runtime.service.submit(submission)
    del submission, earlier
    headers: dict[str, str] = {RUN_ID_HEADER: record.run_id}
    if not is_new:
        headers["Idempotency-Replayed"] = "true"
    head = response_head(record, runtime.model_names[0])
    if body.stream:
        return _stream(runtime, record, ResponseProjection(head), headers)
    if body.background:
        return _json(await _as_it_stands(runtime, record, head), headers)
    return await _whole(request, runtime, record, head, headers)


@router.get("/{response_id}")
async def get_response(
    run_id: ResponseRun,
    runtime: CurrentRuntime,
    tenant: CurrentTenant,
    stream: Annotated[bool, Query(description="Whether the answer is the stream.")] = False,
    starting_after: Annotated[
        int, Query(ge=-1, le=10**12, description="The `sequence_number` behind which the stream goes on.")
    ] = -1,
    include: Annotated[
        list[str] | None,
        Query(max_length=20, description="Fields to show besides those that the request asked to include."),
    ] = None,
    include_in_brackets: Included = None,
) -> Response:
    """Any run as a response: as it stands, or as the stream of its messages behind the number `starting_after`."""
    record = await stored_run(runtime, tenant, run_id)
    wanted = included([*(include or ()), *(include_in_brackets or ())])
    head = response_head(record, runtime.model_names[0], wanted)
    headers: dict[str, str] = {RUN_ID_HEADER: record.run_id}
    if stream:
        return _stream(runtime, record, ResponseProjection(head, starting_after=starting_after), headers)
    return _json(await _as_it_stands(runtime, record, head), headers)


@router.post("/{response_id}/cancel")
async def cancel_response(run_id: ResponseRun, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """The response after its run was told to stop. Again and again the same."""
    record = await stored_run(runtime, tenant, run_id)
    if record.is_foreground:
        raise NotInBackground
    record = await runtime.service.cancel(tenant, run_id)
    return _json(await _as_it_stands(runtime, record, response_head(record, runtime.model_names[0])))


@router.delete("/{response_id}")
async def delete_response(run_id: ResponseRun, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """Forgets the run, its events and its report."""
    await stored_run(runtime, tenant, run_id)
    await runtime.service.delete(tenant, run_id)
    return _json({"id": response_id(run_id), "object": "response", "deleted": True})


@router.get("/{response_id}/input_items")
async def list_input_items(
    run_id: ResponseRun,
    runtime: CurrentRuntime,
    tenant: CurrentTenant,
    after: Annotated[str | None, Query(max_length=512, description="The item behind which the page begins.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="The size of a page.")] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="`desc` for the newest first.")] = "desc",
) -> Response:
    """What the response was asked, item by item, the newest first unless `order` says `asc`."""
    record = await stored_run(runtime, tenant, run_id)
    items = input_items(record)
    if order == "desc":
        items.reverse()
    start = next((place for place, item in enumerate(items, start=1) if item["id"] == after), 0)
    page = items[start : start + limit]
    return _json(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": start + limit < len(items),
        }
    )


class _ForgettingReader:
    """A reader that deletes a run which is not to be stored, once its answer is given."""

    def __init__(self, reader: RunReader, runtime: Runtime, record: RunRecord) -> None:
        self._reader = reader
        self._runtime = runtime
        self._record = record
        self._is_ended = False

    @property
    def is_cut(self) -> bool:
        """Whether the server drains."""
        return self._reader.is_cut

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.__aexit__(*_)
        if self._is_ended:
            await self._runtime.service.delete(self._record.tenant, self._record.run_id)

    def __aiter__(self) -> AsyncIterator[tuple[StoredEvent, ...]]:
        return self

    async def __anext__(self) -> tuple[StoredEvent, ...]:
        batch = await self._reader.__anext__()
        self._is_ended = batch[-1].is_end
        return batch


def _reader(runtime: Runtime, record: RunRecord) -> RunReader:
    reader = runtime.service.follow(record)
    return reader if is_stored(record) else _ForgettingReader(reader, runtime, record)


def _stream(
    runtime: Runtime, record: RunRecord, projection: ResponseProjection, headers: Mapping[str, str]
) -> Response:
    def conclude(reader: RunReader) -> bytes:
        return projection.cut("draining" if reader.is_cut else "deleted")

    return EventStream(
        _reader(runtime, record),
        settings=runtime.settings,
        render=projection.project,
        conclude=conclude,
        headers=headers,
    )


async def _whole(
    request: Request, runtime: Runtime, record: RunRecord, head: ResponseHead, headers: Mapping[str, str]
) -> Response:
    reader = _reader(runtime, record)
    answer = ResponseProjection(head, starting_after=NOTHING)
    if not await gathered(request, reader, answer):
        return Response(status_code=CLIENT_LEFT)
    if answer.is_ended:
        return _json(answer.response(), headers)
    response = respond(request.url.path, failure_of(ShuttingDown() if reader.is_cut else UnknownRun()))
    response.headers.update(headers)
    return response


async def _as_it_stands(runtime: Runtime, record: RunRecord, head: ResponseHead) -> object:
    answer = ResponseProjection(head, starting_after=NOTHING)
    place = Seq(0)
    while not answer.is_ended:
        page = await runtime.service.read_page(record.tenant, record.run_id, after=place, max_events=_PAGE_EVENTS)
        if not page:
            break
        answer.add(page)
        place = page[-1].seq
    return answer.response()


async def _earlier(runtime: Runtime, tenant: Tenant, given: str | None) -> Earlier | None:
    """The run that a request builds on.

    Raises:
        UnknownPreviousResponse: there is none, or it has not ended.

    """
    if given is None:
        return None
    try:
        record = await stored_run(runtime, tenant, await _run_of_response(given))
    except (UnknownRun, EventsExpired) as error:
        raise UnknownPreviousResponse("previous_response_id", "There is no such response here.") from error
    if not record.is_ended:
        raise UnknownPreviousResponse("previous_response_id", "The previous response has not ended yet.")
    end = await runtime.service.read_page(tenant, record.run_id, after=Seq(record.last_seq - 1), max_events=1)
    return Earlier(record=record, report=_report(end[0]) if end else "")


def _report(end: StoredEvent) -> str:
    match end.event():
        case RunCompleted(report=report):
            return report
        case RunFailed(partial_report=report) | RunCancelled(partial_report=report):
            return report
        case _:
            return ""


def _json(value: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(value), headers=headers, media_type=_JSON)
