"""The AI SDK's way of asking and reading: `useChat` is pointed at `/v1/research/ui-stream`.

A chat is no more than an id that its client made and that its runs keep in their metadata.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response
from thinkpool_pipeline.errors import UnknownRun

from thinkpool_server.active_runs import active_runs
from thinkpool_server.projections.ui_messages import HEADERS, UiMessageStream
from thinkpool_server.protocols import Runtime
from thinkpool_server.routes.completions import chat_head, stream_completion
from thinkpool_server.routes.dependencies import (
    CheckedRunId,
    CurrentAsker,
    CurrentRuntime,
    CurrentTenant,
    forget_body,
    id_in_path,
)
from thinkpool_server.routes.ui_chat_request import CHAT_ID, CHAT_KEY, UiChatRequest, ui_chat_submission
from thinkpool_server.runs import RunRecord, Tenant

router = APIRouter(prefix="/v1/research", tags=["ui"])


async def _checked_chat_id(
    chat_id: Annotated[str, id_in_path("The chat, by the id that its client made.", "chat-1", CHAT_ID)],
) -> str:
    if not re.fullmatch(CHAT_ID, chat_id):
        raise UnknownRun
    return chat_id


ChatId = Annotated[str, Depends(_checked_chat_id)]


@router.post("/ui-stream")
async def ask_in_chat(body: UiChatRequest, request: Request, runtime: CurrentRuntime, asker: CurrentAsker) -> Response:
    """A run on the chat's last question, as a UI message stream."""
    submission = ui_chat_submission(body, asker)
    forget_body(request, None)
    body.messages.clear()
    record, _ = await runtime.service.submit(submission)
    del submission
    return _stream(runtime, record)


@router.get("/ui-stream/{chat_id}/stream")
async def resume_chat(chat_id: ChatId, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """The stream of the chat's newest run that goes on, from its start; 204 when none does."""
    active = [record async for record in _active(runtime, tenant, chat_id)]
    if not active:
        return Response(status_code=204)
    return _stream(runtime, max(active, key=lambda record: (record.created_at, record.run_id)))


@router.post("/ui-stream/{chat_id}/stop", status_code=204)
async def stop_chat(chat_id: ChatId, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """Stops what goes on in the chat. Again and again the same."""
    for run_id in [record.run_id async for record in _active(runtime, tenant, chat_id)]:
        await runtime.service.cancel(tenant, run_id)
    return Response(status_code=204)


@router.get("/{run_id}/ui-stream")
async def read_ui_stream(run_id: CheckedRunId, runtime: CurrentRuntime, tenant: CurrentTenant) -> Response:
    """Any run as a UI message stream, from its start to its end."""
    return _stream(runtime, await runtime.service.get(tenant, run_id))


def _stream(runtime: Runtime, record: RunRecord) -> Response:
    return stream_completion(runtime, record, UiMessageStream(chat_head(runtime, record)), headers=HEADERS)


async def _active(runtime: Runtime, tenant: Tenant, chat_id: str) -> AsyncIterator[RunRecord]:
    """The chat's runs that have not ended; one may come twice."""
    async for record in active_runs(runtime.service, tenant):
        if record.origin == "ui_chat" and record.metadata.get(CHAT_KEY) == chat_id:
            yield record
