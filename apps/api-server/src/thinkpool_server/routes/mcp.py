"""MCP over streamable HTTP.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from thinkpool_server.mcp_server import McpEndpoint
from thinkpool_server.routes.dependencies import CurrentAsker, forget_body
from thinkpool_server.routes.whole_answers import CLIENT_LEFT

router = APIRouter(tags=["mcp"])


@router.post("/mcp")
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
