"""OpenAI's chat completions, and the extended ones."""

from collections.abc import Mapping

from thinkpool_pipeline.values import JsonObject

from thinkpool_server.answer_shapes.chat import ChatChunk, ChatCompletion
from thinkpool_server.answer_shapes.errors import OpenAIError
from thinkpool_server.api_description.description import Answer, RouteDescription, data_message, json_body, stream_body
from thinkpool_server.api_description.examples import QUESTION, REPORT, RUN
from thinkpool_server.api_description.headers import ACCEPT_LANGUAGE, ASKING, CONTENT_LANGUAGE, RUN_ID

_COMPLETION: JsonObject = {
    "id": f"chatcmpl-{RUN}",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "builtin",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": REPORT,
                "reasoning_content": "I search for the sky.",
                "refusal": None,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0,
                            "end_index": 47,
                            "title": "Sky",
                            "url": "https://sky.example/",
                            "source_id": 1,
                            "is_verbatim": True,
                        },
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 5120,
        "completion_tokens": 640,
        "total_tokens": 5760,
        "prompt_tokens_details": {"cached_tokens": 1024},
        "completion_tokens_details": {"reasoning_tokens": 200},
    },
}
_CHUNK = f'data: {{"id":"chatcmpl-{RUN}","object":"chat.completion.chunk","created":1767225600,"model":"builtin",'
_STREAM = (
    _CHUNK + '"choices":[{"index":0,"delta":{"content":"Air scatters"},"logprobs":null,"finish_reason":null}]}\n\n'
    "data: [DONE]\n\n"
)
_BLOCKS = (
    _CHUNK + '"choices":[{"index":0,"delta":{"role":"task","content":"","taskstat":"message_start",'
    '"content_type":"research_process_block","parent_taskid":"","index":0,"taskid":"run_1k3qv9-0",'
    '"task_content":{"label":"Researching"}},"logprobs":null,"finish_reason":null}]}\n\n'
)
_MESSAGE = data_message(ChatChunk, OpenAIError, ends_with_done=True)
_BODIES = (json_body(ChatCompletion, _COMPLETION), stream_body(_MESSAGE, _STREAM))
_BODIES_WITH_BLOCKS = (json_body(ChatCompletion, _COMPLETION), stream_body(_MESSAGE, _BLOCKS))
_ASKED: JsonObject = {"model": "builtin", "messages": [{"role": "user", "content": QUESTION}]}
_REFUSALS = (404, 409, 424, 429, 503)
_READING_REFUSALS = (422, 404, 410, 424, 503)

ROUTES: Mapping[str, RouteDescription] = {
    "POST /v1/chat/completions": RouteDescription(
        headers=ASKING,
        requests={
            "a question": _ASKED,
            "a stream": {**_ASKED, "stream": True, "stream_options": {"include_usage": True}},
            "an answer in JSON": {**_ASKED, "response_format": {"type": "json_object"}, "reasoning_effort": "low"},
        },
        answers=(
            Answer(
                status=200,
                meaning="The completion, or its stream, which ends with `data: [DONE]`.",
                bodies=_BODIES,
                headers=(RUN_ID,),
                followed_by={"get_chat_completion": "completion_id"},
            ),
        ),
        refusals=_REFUSALS,
    ),
    "GET /v1/chat/completions/{completion_id}": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The completion, as soon as the run has ended, or its stream.",
                bodies=_BODIES,
                headers=(RUN_ID,),
            ),
        ),
        refusals=_READING_REFUSALS,
    ),
    "POST /v2/chat/completions": RouteDescription(
        headers=(*ASKING, ACCEPT_LANGUAGE),
        requests={"a stream": {**_ASKED, "stream": True, "trace_id": "order-7"}},
        answers=(
            Answer(
                status=200,
                meaning="The stream of blocks and of the answer, which ends with `data: [DONE]`; or the completion.",
                bodies=_BODIES_WITH_BLOCKS,
                headers=(RUN_ID, CONTENT_LANGUAGE),
                followed_by={"get_extended_chat_completion": "completion_id"},
            ),
        ),
        refusals=_REFUSALS,
    ),
    "GET /v2/chat/completions/{completion_id}": RouteDescription(
        headers=(ACCEPT_LANGUAGE,),
        answers=(
            Answer(
                status=200,
                meaning="The completion, as soon as the run has ended, or its stream of blocks and of the answer.",
                bodies=_BODIES_WITH_BLOCKS,
                headers=(RUN_ID, CONTENT_LANGUAGE),
            ),
        ),
        refusals=_READING_REFUSALS,
    ),
}
