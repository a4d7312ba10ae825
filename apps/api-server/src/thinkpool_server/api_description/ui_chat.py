"""The AI SDK's routes."""

from collections.abc import Mapping

from thinkpool_server.answer_shapes.ui_messages import UiChunk
from thinkpool_server.api_description.description import Answer, RouteDescription, data_message, stream_body
from thinkpool_server.api_description.examples import QUESTION, RUN
from thinkpool_server.api_description.headers import ASKING, RUN_ID, UI_STREAM

_STREAM = Answer(
    status=200,
    meaning="A UI message stream, from the run's start to its end.",
    bodies=(
        stream_body(
            data_message(UiChunk, ends_with_done=True),
            f"""\
data: {{"type":"start","messageId":"{RUN}","messageMetadata":{{"run_id":"{RUN}","model":"builtin"}}}}

data: {{"type":"start-step"}}

""",
        ),
    ),
    headers=(RUN_ID, UI_STREAM),
)

ROUTES: Mapping[str, RouteDescription] = {
    "POST /v1/research/ui-stream": RouteDescription(
        headers=ASKING,
        requests={
            "a question": {
                "id": "chat-1",
                "messages": [{"role": "user", "parts": [{"type": "text", "text": QUESTION}]}],
                "trigger": "submit-message",
            }
        },
        answers=(_STREAM,),
        refusals=(409, 429, 503),
        more="""\
What the AI SDK's `useChat` asks. Of the messages' parts text counts, and files as data URLs in the user's messages. The
run goes on when the client leaves, so that it can be resumed.""",
    ),
    "GET /v1/research/ui-stream/{chat_id}/stream": RouteDescription(
        answers=(_STREAM, Answer(status=204, meaning="Nothing goes on in the chat.")),
        refusals=(404, 503),
        more="It is what `useChat` asks to resume a stream.",
    ),
    "POST /v1/research/ui-stream/{chat_id}/stop": RouteDescription(
        answers=(Answer(status=204, meaning="Nothing goes on any more."),),
        refusals=(404, 410, 503),
    ),
    "GET /v1/research/{run_id}/ui-stream": RouteDescription(answers=(_STREAM,), refusals=(404, 410, 503)),
}
