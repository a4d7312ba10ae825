"""MCP over streamable HTTP.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from thinkpool_server.mcp_server import McpEndpoint
from thinkpool_server.routes.dependencies import CurrentAsker, forget_body
from thinkpool_server.routes.whole_answers import CLIENT_LEFT

router = APIRouter(tags=["mcp"])


_MESSAGE = {"type": "object", "required": ["jsonrpc"], "properties": {"jsonrpc": {"const": "2.0"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; as a stream, after notifications of progress.",
        "content": {"application/json": {"schema": _MESSAGE}, "text/event-stream": {"schema": {"type": "string"}}},
    },
    202: {"description": "A notification is taken."},
}


@router.post(
    "/mcp",
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _MESSAGE}}}},
)
async def take_message(request: Request, asker: CurrentAsker) -> Response:
    """One JSON-RPC message of an MCP client: answered as JSON, or by a stream with progress and then the answer."""
    endpoint: McpEndpoint = request.app.state.mcp
    refusal = endpoint.refusal(request)
    if refusal is not None:
        return refusal
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=CLIENT_LEFT)
    forget_body(request, None)
    return await endpoint.answer(request, body, asker)
