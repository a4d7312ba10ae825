"""OpenAI's responses."""

from collections.abc import Mapping

from thinkpool_pipeline.values import JsonObject

from thinkpool_server.answer_shapes.responses import (
    DeletedResponse,
    InputItemList,
    ResponseMessage,
    ResponseObject,
)
from thinkpool_server.api_description.description import Answer, RouteDescription, data_message, json_body, stream_body
from thinkpool_server.api_description.examples import QUESTION, REPORT, RESPONSE, RUN
from thinkpool_server.api_description.headers import ASKING, REPLAYED, RUN_ID

_RESPONSE: JsonObject = {
    "id": RESPONSE,
    "object": "response",
    "created_at": 1767225600,
    "completed_at": 1767225660,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": "builtin",
    "output": [
        {
            "id": "ws_1k3qv9_0",
            "type": "web_search_call",
            "status": "completed",
            "action": {"type": "search", "query": "blue sky", "queries": ["blue sky"]},
        },
        {
            "id": "msg_1k3qv9_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": REPORT,
                    "annotations": [
                        {
                            "type": "url_citation",
                            "start_index": 0,
                            "end_index": 47,
                            "title": "Sky",
                            "url": "https://sky.example/",
                            "source_id": 1,
                            "is_verbatim": True,
                        }
                    ],
                    "logprobs": [],
                }
            ],
        },
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 5120,
        "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0},
        "output_tokens": 640,
        "output_tokens_details": {"reasoning_tokens": 200},
        "total_tokens": 5760,
    },
    "user": None,
    "thinkpool": {
        "run_id": RUN,
        "stop_reason": "finished",
        "error_code": None,
        "cancelled_by": None,
        "answer": None,
    },
}
_STREAM = stream_body(
    data_message(ResponseMessage, is_named=True),
    """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_1k3qv9_1","output_index":1,"content_index":0,"logprobs":[],\
"delta":"Air scatters","sequence_number":9}

""",
)
_ITEM: JsonObject = {
    "id": "msg_1k3qv9_input_0",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_text", "text": QUESTION}],
}
_READING = (404, 410, 503)
_OF_A_RESPONSE: Mapping[str, str] = dict.fromkeys(
    ("get_response", "list_input_items", "cancel_response", "delete_response"), "response_id"
)

ROUTES: Mapping[str, RouteDescription] = {
    "POST /v1/responses": RouteDescription(
        headers=ASKING,
        requests={
            "a question": {"model": "builtin", "input": QUESTION},
            "in the background": {"input": QUESTION, "background": True, "reasoning": {"effort": "low"}},
            "a follow-up": {"input": "And at sunset?", "previous_response_id": RESPONSE, "stream": True},
            "with some tools": {"input": QUESTION, "tools": [{"type": "file_search"}], "max_tool_calls": 5},
        },
        answers=(
            Answer(
                status=200,
                meaning="The response, or its stream. One whose run failed is a 200 with the status `failed`.",
                bodies=(json_body(ResponseObject, _RESPONSE), _STREAM),
                headers=(RUN_ID, REPLAYED),
                followed_by=_OF_A_RESPONSE,
            ),
        ),
        refusals=(404, 409, 429, 503),
    ),
    "GET /v1/responses/{response_id}": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The response, as far as it is; or, with `stream`, its stream.",
                bodies=(json_body(ResponseObject, _RESPONSE), _STREAM),
                headers=(RUN_ID,),
            ),
        ),
        refusals=(422, *_READING),
    ),
    "POST /v1/responses/{response_id}/cancel": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The response.",
                bodies=(json_body(ResponseObject, {**_RESPONSE, "status": "cancelled", "background": True}),),
            ),
        ),
        refusals=(400, *_READING),
        more="Of a response in the foreground it is a 400: that one ends when its client leaves.",
    ),
    "DELETE /v1/responses/{response_id}": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="It is gone. If its run still worked, it was stopped.",
                bodies=(json_body(DeletedResponse, {"id": RESPONSE, "object": "response", "deleted": True}),),
            ),
        ),
        refusals=_READING,
    ),
    "GET /v1/responses/{response_id}/input_items": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="A page of the items.",
                bodies=(
                    json_body(
                        InputItemList,
                        {
                            "object": "list",
                            "data": [_ITEM],
                            "first_id": _ITEM["id"],
                            "last_id": _ITEM["id"],
                            "has_more": False,
                        },
                    ),
                ),
            ),
        ),
        refusals=(422, *_READING),
        more="What its `instructions` say and what an earlier response brought is left out.",
    ),
}
