"""OpenAI's chat completions: a run in the foreground, read to its end, streamed or whole."""

import asyncio

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response
from thinkpool_pipeline.errors import ShuttingDown, UnknownRun

from thinkpool_server.error_responses import Failure, failure_of, respond, run_failure
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_stream import EventStream
from thinkpool_server.projections.chat import CUT, GONE, ChatAnswer, ChatHead, ChatStream
from thinkpool_server.protocols import RunReader, Runtime
from thinkpool_server.routes.dependencies import RUN_ID_HEADER, CurrentAsker, CurrentRuntime, forget_body
from thinkpool_server.runs import RunRecord
from thinkpool_server.schemas import ChatRequest
from thinkpool_server.submissions import chat_submission

router = APIRouter(prefix="/v1/chat", tags=["openai"])

_CLIENT_LEFT = 499  # nginx's; nobody receives it, but the log and the metrics do


@router.post("/completions")
async def complete_chat(body: ChatRequest, request: Request, runtime: CurrentRuntime, asker: CurrentAsker) -> Response:
    """The report on the last user message, in OpenAI's format."""
    submission = chat_submission(body, asker)
    forget_body(request, body.messages)
    record, _ = await runtime.service.submit(submission)
    del submission
    head = ChatHead(
        run_id=record.run_id,
        model=record.question.model or runtime.model_names[0],
        created=int(record.created_at),
    )
    if body.stream:
        has_usage = body.stream_options is not None and body.stream_options.include_usage
        return _stream(runtime, record, ChatStream(head, has_usage=has_usage))
    return await _whole(request, runtime, record, ChatAnswer(head))


def _stream(runtime: Runtime, record: RunRecord, stream: ChatStream) -> Response:
    def conclude(reader: RunReader) -> bytes:
        if stream.is_done:
            return b""
        return stream.end(CUT if reader.is_cut else GONE)

    return EventStream(
        runtime.service.follow(record),
        settings=runtime.settings,
        render=stream.project,
        conclude=conclude,
        first=stream.begin(),
        headers={RUN_ID_HEADER: record.run_id},
    )


async def _whole(request: Request, runtime: Runtime, record: RunRecord, answer: ChatAnswer) -> Response:
    reader = runtime.service.follow(record)
    if not await _gather(request, reader, answer):
        return Response(status_code=_CLIENT_LEFT)
    headers = {RUN_ID_HEADER: record.run_id}
    if answer.is_complete:
        return Response(orjson.dumps(answer.body()), headers=headers, media_type="application/json")
    response = respond(request.url.path, _failure(reader, answer))
    response.headers.update(headers)
    return response


def _failure(reader: RunReader, answer: ChatAnswer) -> Failure:
    if answer.failure is not None:
        return run_failure(answer.failure.code, answer.failure.message)
    return failure_of(ShuttingDown() if reader.is_cut else UnknownRun())


async def _gather(request: Request, reader: RunReader, answer: ChatAnswer) -> bool:
    """Reads the run to its end; False when the client left before."""
    failure: StoreUnavailable | None = None

    async def stop_when_client_leaves(patience: asyncio.Timeout) -> None:
        message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await request.receive()
        patience.reschedule(asyncio.get_running_loop().time())

    try:
        async with reader, asyncio.timeout(None) as patience, asyncio.TaskGroup() as group:
            watcher = group.create_task(stop_when_client_leaves(patience))
            try:
                async for batch in reader:
                    answer.add(batch)
            except StoreUnavailable as error:  # carried out of the task group, which would wrap it
                failure = error
            watcher.cancel()
    except TimeoutError:
        return False
    if failure is not None:
        raise failure
    return True
