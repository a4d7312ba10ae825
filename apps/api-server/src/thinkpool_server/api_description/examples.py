"""One run, as the examples tell it in every dialect."""

from typing import Final

from thinkpool_pipeline.values import JsonObject

RUN: Final = "run_1k3qv9"
RESPONSE: Final = "resp_1k3qv9"
QUESTION: Final = "Why is the sky blue?"
STATEMENT: Final = "Air scatters blue light more than red light.[1]"
REPORT: Final = f"{STATEMENT}\n\n## Sources\n\n1. [Sky](https://sky.example/)\n"
LINKS: JsonObject = {
    "self": f"/v1/research/{RUN}",
    "events": f"/v1/research/{RUN}/events",
    "report": f"/v1/research/{RUN}/report",
    "cancel": f"/v1/research/{RUN}/cancel",
}
SUMMARY: JsonObject = {
    "id": RUN,
    "object": "research",
    "status": "completed",
    "query": QUESTION,
    "model": None,
    "origin": "research",
    "priority": 5,
    "metadata": {"order": "7"},
    "files": [],
    "budget": {"max_turns": 20, "max_tool_calls": 100, "max_tokens": 1000000, "max_seconds": 3600.0},
    "created_at": 1767225600.0,
    "started_at": 1767225600.1,
    "finished_at": 1767225660.0,
    "attempts": 1,
    "last_event_id": 31,
    "is_cancel_requested": False,
    "links": LINKS,
}
USAGE: JsonObject = {
    "input_tokens": 5120,
    "output_tokens": 640,
    "reasoning_tokens": 200,
    "cached_tokens": 1024,
    "total_tokens": 5760,
}
RESULT: JsonObject = {
    "report": REPORT,
    "citations": [
        {
            "source_id": 1,
            "quote": "Air scatters blue light more than red light.",
            "is_verbatim": True,
            "title": "Sky",
            "document": "https://sky.example/",
            "url": "https://sky.example/",
            "start": 0,
            "end": 47,
        }
    ],
    "usage": USAGE,
    "stop_reason": "finished",
    "answer": None,
}
WHOLE_RUN: JsonObject = {**SUMMARY, "result": RESULT, "error": None, "cancelled_by": None}
CANCELLED_RUN: JsonObject = {
    **SUMMARY,
    "status": "cancelled",
    "is_cancel_requested": True,
    "result": {"report": "", "citations": [], "usage": USAGE},
    "error": None,
    "cancelled_by": "client",
}
EVENT: JsonObject = {
    "seq": 2,
    "type": "run.started",
    "at": 1767225600.1,
    "data": {"replica": "a", "pipeline": 1, "model": "builtin", "attempt": 1},
}
EVENT_STREAM: Final = """\
id: 2
event: run.started
data: {"replica":"a","pipeline":1,"model":"builtin","attempt":1}

: ping

id: 3
event: turn.started
data: {"turn":1,"purpose":"research","within":null}

"""
