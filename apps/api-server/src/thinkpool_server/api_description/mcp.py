"""MCP over HTTP."""

from collections.abc import Mapping

from thinkpool_pipeline.values import JsonObject

from thinkpool_server.answer_shapes.errors import Problem
from thinkpool_server.answer_shapes.mcp import JsonRpcMessage
from thinkpool_server.api_description.description import (
    Answer,
    Body,
    RouteDescription,
    data_message,
    json_body,
    reference,
    stream_body,
)
from thinkpool_server.api_description.headers import ASKING, MCP_SESSION, MCP_VERSION

_ASKED: JsonObject = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "research", "arguments": {"query": "Why is the sky blue?"}},
}
_ANSWER: JsonObject = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {"content": [{"type": "text", "text": "Air scatters blue light more than red light.[1]"}]},
}
_STREAM = """\
event: message
data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"Queued."}}

"""


def _error(code: int, message: str) -> Body:
    return json_body(JsonRpcMessage, {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}})


_BAD_HEADER = Body(
    media_type="application/problem+json",
    schema=reference(Problem),
    example={
        "type": "urn:thinkpool:problem:invalid-header",
        "title": "Invalid header",
        "status": 400,
        "detail": "The Idempotency-Key should be 1 to 255 printable ASCII characters.",
        "code": "invalid-header",
        "errors": [],
    },
)

ROUTES: Mapping[str, RouteDescription] = {
    "POST /mcp": RouteDescription(
        headers=(*ASKING, MCP_SESSION, MCP_VERSION),
        body=reference(JsonRpcMessage),
        requests={
            "a call": _ASKED,
            "the tools": {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        },
        answers=(
            Answer(
                status=200,
                meaning=(
                    "A stream that ends with the answer, or, where none is needed, the answer itself. "
                    "A call that asks for it is told its progress before."
                ),
                bodies=(
                    json_body(JsonRpcMessage, _ANSWER),
                    stream_body(data_message(JsonRpcMessage, is_named=True), _STREAM),
                ),
                headers=(MCP_SESSION,),
            ),
            Answer(status=202, meaning="A notification is taken."),
            Answer(
                status=400,
                meaning="The body is not one JSON-RPC message, or a header cannot be used.",
                bodies=(_error(-32700, "The body is not valid JSON."), _BAD_HEADER),
            ),
            Answer(
                status=406,
                meaning="`Accept` has not both `application/json` and `text/event-stream`.",
                bodies=(_error(-32600, "Not Acceptable: Client must accept application/json"),),
            ),
            Answer(
                status=415,
                meaning="The `Content-Type` is not `application/json`.",
                bodies=(_error(-32600, "The Content-Type should be application/json."),),
            ),
        ),
        refusals=(403,),
        more="""\
The tools and how to connect are described in the documentation of the MCP server. There is no stream without a call and
no session to end, so `GET` and `DELETE` are 405. A message may have 256 KiB.""",
    ),
}
