"""The extended chat completions: OpenAI's, with the research as a tree of blocks in the stream."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from thinkpool_server.projections.chat import ChatAnswer
from thinkpool_server.projections.task_blocks import LANGUAGES, TaskStream
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
from thinkpool_server.routes.negotiation import preferred_language
from thinkpool_server.runs import RunRecord, Submission
from thinkpool_server.schemas import ChatRequest
from thinkpool_server.submissions import Asker, chat_submission

router = APIRouter(prefix="/v2/chat", tags=["openai"])


class ExtendedChatRequest(ChatRequest):
    """OpenAI's chat completion request, and an id of the client's own."""

    trace_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")] | None = None
    """Kept with the run's metadata, and used for nothing."""


@router.post("/completions")
async def complete_extended_chat(
    body: ExtendedChatRequest, request: Request, runtime: CurrentRuntime, asker: CurrentAsker
) -> Response:
    """The report on the last user message; streamed, the research comes before it, block by block."""
    submission = _submission(body, asker)
    forget_body(request, body.messages)
    record, _ = await runtime.service.submit(submission)
    del submission
    return await _completion(request, runtime, record, is_streamed=bool(body.stream), has_usage=has_usage(body))


@router.get("/completions/{completion_id}")
async def get_extended_chat_completion(
    record: StoredCompletion,
    request: Request,
    runtime: CurrentRuntime,
    is_streamed: IsStreamed = False,
    has_usage: HasUsage = False,
) -> Response:
    """Any run as a completion: whole, once it has ended, or as the stream of blocks from its start."""
    return await _completion(request, runtime, record, is_streamed=is_streamed, has_usage=has_usage)


async def _completion(
    request: Request, runtime: Runtime, record: RunRecord, *, is_streamed: bool, has_usage: bool
) -> Response:
    head = chat_head(runtime, record)
    if not is_streamed:
        return await whole_completion(request, runtime, record, ChatAnswer(head))
    language = preferred_language(request.headers.get("accept-language", ""), LANGUAGES)
    stream = TaskStream(head, has_usage=has_usage, language=language)
    return stream_completion(runtime, record, stream, headers={"Content-Language": language, "Vary": "Accept-Language"})


def _submission(body: ExtendedChatRequest, asker: Asker) -> Submission:
    submission = chat_submission(body, asker)
    trace = {} if body.trace_id is None else {"trace_id": body.trace_id}
    return replace(submission, origin="extended_chat", metadata={**submission.metadata, **trace})
