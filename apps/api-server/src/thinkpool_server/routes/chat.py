"""OpenAI's chat completions: a run in the foreground, read to its end, streamed or whole."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from thinkpool_server.projections.chat import ChatAnswer, ChatStream
from thinkpool_server.protocols import Runtime
from thinkpool_server.routes.completions import (
    HasUsage,
    IsStreamed,
    StoredCompletion,
    chat_head,
    has_usage,
    stream_completion,
    whole_completion,
)
from thinkpool_server.routes.dependencies import CurrentAsker, CurrentRuntime, forget_body
from thinkpool_server.runs import RunRecord
from thinkpool_server.schemas import ChatRequest
from thinkpool_server.submissions import chat_submission

router = APIRouter(prefix="/v1/chat", tags=["openai"])


@router.post("/completions")
async def complete_chat(body: ChatRequest, request: Request, runtime: CurrentRuntime, asker: CurrentAsker) -> Response:
    """The report on the last user message, in OpenAI's format."""
    submission = chat_submission(body, asker)
    forget_body(request, body.messages)
    record, _ = await runtime.service.submit(submission)
    del submission
    return await _completion(request, runtime, record, is_streamed=bool(body.stream), has_usage=has_usage(body))


@router.get("/completions/{completion_id}")
async def get_chat_completion(
    record: StoredCompletion,
    request: Request,
    runtime: CurrentRuntime,
    is_streamed: IsStreamed = False,
    has_usage: HasUsage = False,
) -> Response:
    """Any run as a completion: whole, once it has ended, or as the stream from its start."""
    return await _completion(request, runtime, record, is_streamed=is_streamed, has_usage=has_usage)


async def _completion(
    request: Request, runtime: Runtime, record: RunRecord, *, is_streamed: bool, has_usage: bool
) -> Response:
    head = chat_head(runtime, record)
    if is_streamed:
        return stream_completion(runtime, record, ChatStream(head, has_usage=has_usage))
    return await whole_completion(request, runtime, record, ChatAnswer(head))
