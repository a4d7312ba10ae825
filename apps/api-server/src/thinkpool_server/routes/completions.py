"""A run as the completion of a request that waits for it: what OpenAI's routes for chats have in common."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

import orjson
from fastapi import Depends, Query, Request
from starlette.responses import Response
from thinkpool_pipeline.errors import ShuttingDown, UnknownRun
from thinkpool_pipeline.events import StoredEvent

from thinkpool_server.error_responses import Failure, failure_of, respond, run_failure
from thinkpool_server.event_stream import EventStream
from thinkpool_server.projections.chat import ChatAnswer
from thinkpool_server.projections.chat_chunks import CUT, GONE, ChatFailure, ChatHead, run_id_of
from thinkpool_server.protocols import RunReader, Runtime
from thinkpool_server.routes.dependencies import (
    RUN_ID_HEADER,
    CurrentRuntime,
    CurrentTenant,
    checked_run_id,
    id_in_path,
)
from thinkpool_server.routes.stored_runs import stored_run
from thinkpool_server.routes.whole_answers import CLIENT_LEFT, gathered
from thinkpool_server.runs import RunRecord
from thinkpool_server.schemas import ChatRequest


async def _stored_completion(
    completion_id: Annotated[str, id_in_path("The completion, or any run of the tenant.", "chatcmpl-run_1k3qv9")],
    runtime: CurrentRuntime,
    tenant: CurrentTenant,
) -> RunRecord:
    return await stored_run(runtime, tenant, await checked_run_id(run_id_of(completion_id)))


StoredCompletion = Annotated[RunRecord, Depends(_stored_completion)]
IsStreamed = Annotated[bool, Query(alias="stream", description="Whether the answer is the stream, from its start.")]
HasUsage = Annotated[bool, Query(alias="include_usage", description="Whether the stream ends with what was used.")]


class CompletionStream(Protocol):
    """A streamed completion: bytes out for events in."""

    @property
    def is_done(self) -> bool:
        """Whether nothing may follow."""
        ...

    def begin(self) -> bytes:
        """What is sent on acceptance."""
        ...

    def project(self, batch: Sequence[StoredEvent]) -> bytes:
        """What these events are in the dialect's words; may be empty."""
        ...

    def end(self, failure: ChatFailure) -> bytes:
        """The last bytes of a stream whose run has not ended."""
        ...


def chat_head(runtime: Runtime, record: RunRecord) -> ChatHead:
    """What every piece of the run's completion repeats."""
    return ChatHead(
        run_id=record.run_id,
        model=record.question.model or runtime.model_names[0],
        created=int(record.created_at),
    )


def has_usage(body: ChatRequest) -> bool:
    """Whether the stream is to end with what it used."""
    return body.stream_options is not None and body.stream_options.include_usage


def stream_completion(
    runtime: Runtime, record: RunRecord, stream: CompletionStream, headers: Mapping[str, str] | None = None
) -> Response:
    """The run as it goes, in the words of this stream."""

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
        headers={RUN_ID_HEADER: record.run_id, **(headers or {})},
    )


async def whole_completion(request: Request, runtime: Runtime, record: RunRecord, answer: ChatAnswer) -> Response:
    """The run's answer once there is one, or why there is none."""
    reader = runtime.service.follow(record)
    if not await gathered(request, reader, answer):
        return Response(status_code=CLIENT_LEFT)
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
