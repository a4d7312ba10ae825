"""The native routes."""

from collections.abc import Mapping

from thinkpool_server.answer_shapes.research import AcceptedRun, Run, RunList, RunReport
from thinkpool_server.api_description.components import EVENT_MESSAGE, EVENTS_PAGE
from thinkpool_server.api_description.description import (
    JSON,
    Answer,
    Body,
    RouteDescription,
    json_body,
    stream_body,
    text_body,
)
from thinkpool_server.api_description.examples import (
    CANCELLED_RUN,
    EVENT,
    EVENT_STREAM,
    LINKS,
    QUESTION,
    REPORT,
    RESULT,
    RUN,
    SUMMARY,
    WHOLE_RUN,
)
from thinkpool_server.api_description.headers import ASKING, LAST_EVENT_ID, LOCATION, REPLAYED, RUN_ID
from thinkpool_server.api_description.headers import REPORT as REPORT_HEADER

_EVENTS = stream_body({"$ref": f"#/components/schemas/{EVENT_MESSAGE}"}, EVENT_STREAM)
_READING = (404, 410, 503)
_OF_A_RUN: Mapping[str, str] = dict.fromkeys(
    ("get_run", "read_events", "read_report", "read_ui_stream", "cancel_run", "delete_run"), "run_id"
)

ROUTES: Mapping[str, RouteDescription] = {
    "POST /v1/research": RouteDescription(
        headers=ASKING,
        requests={
            "a question": {"query": QUESTION},
            "a conversation": {
                "messages": [
                    {"role": "user", "content": "What colour is the sky?"},
                    {"role": "assistant", "content": "Blue."},
                    {"role": "user", "content": "Why?"},
                ],
                "budget": {"max_turns": 5},
                "metadata": {"order": "7"},
            },
            "an answer in JSON": {"query": QUESTION, "response_format": {"type": "json_object"}},
            "a question about a file": {
                "query": "What does it say of the sky?",
                "input_files": [{"filename": "sky.md", "text": "The sky is blue."}],
            },
        },
        answers=(
            Answer(
                status=200,
                meaning="The run's events, if the client accepts a stream or asks for one.",
                bodies=(_EVENTS,),
                headers=(RUN_ID, LOCATION, REPLAYED),
            ),
            Answer(
                status=202,
                meaning="The run is accepted, and goes on whoever leaves.",
                bodies=(json_body(AcceptedRun, {"id": RUN, "status": "queued", "links": LINKS}),),
                headers=(RUN_ID, LOCATION, REPLAYED),
                followed_by=_OF_A_RUN,
            ),
        ),
        refusals=(409, 429, 503),
        more="Either `query` or `messages` is given. A field that the server does not know is refused by name.",
    ),
    "GET /v1/research": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="A page of them.",
                bodies=(json_body(RunList, {"runs": [SUMMARY], "next_cursor": None}),),
            ),
        ),
        refusals=(400, 422, 503),
    ),
    "GET /v1/research/{run_id}": RouteDescription(
        answers=(Answer(status=200, meaning="The run.", bodies=(json_body(Run, WHOLE_RUN),)),),
        refusals=_READING,
        more="Of its files, names and sizes are told.",
    ),
    "GET /v1/research/{run_id}/events": RouteDescription(
        headers=(LAST_EVENT_ID,),
        answers=(
            Answer(
                status=200,
                meaning="With `Accept: text/event-stream` the events until the run ends; otherwise a page of them.",
                bodies=(
                    Body(
                        media_type=JSON,
                        schema={"$ref": f"#/components/schemas/{EVENTS_PAGE}"},
                        example={"events": [EVENT], "next_after": 2, "is_complete": False},
                    ),
                    _EVENTS,
                ),
                headers=(RUN_ID,),
            ),
            Answer(
                status=204,
                meaning="To a stream behind the last event: there is nothing more, and never will be.",
                headers=(RUN_ID,),
            ),
        ),
        refusals=(400, 422, *_READING),
    ),
    "POST /v1/research/{run_id}/cancel": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The run. One that still works ends within about a second, and keeps its report so far.",
                bodies=(json_body(Run, CANCELLED_RUN),),
            ),
        ),
        refusals=_READING,
    ),
    "DELETE /v1/research/{run_id}": RouteDescription(
        answers=(Answer(status=204, meaning="It is gone. If it still worked, it was stopped."),),
        refusals=_READING,
    ),
    "GET /v1/research/{run_id}/report": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The report, in the form that `Accept` prefers.",
                bodies=(
                    text_body("text/markdown", REPORT),
                    text_body("text/html", "<!doctype html>\n<html>...</html>\n"),
                    json_body(RunReport, {"id": RUN, "is_partial": False, "result": RESULT}),
                ),
                headers=(REPORT_HEADER,),
            ),
        ),
        refusals=(409, *_READING),
        more="""\
A run that has not ended has no report yet: 409. One that ended without any is a 404. In HTML, raw HTML of the report
is shown as text, images are not loaded, and links lead to http, https and mailto only.""",
    ),
}
