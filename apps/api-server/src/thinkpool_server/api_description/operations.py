"""What operators and their machines ask."""

from collections.abc import Mapping

from thinkpool_server.answer_shapes.operations import Health, Readiness
from thinkpool_server.api_description.description import JSON, Answer, Body, RouteDescription, json_body, text_body

ROUTES: Mapping[str, RouteDescription] = {
    "GET /health": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The process answers.",
                bodies=(
                    json_body(
                        Health,
                        {
                            "status": "ok",
                            "version": "0.1.0",
                            "replica": "local",
                            "active_requests": 2,
                            "queued_requests": 0,
                            "pool_size": 5,
                            "pool": {"size": 5, "idle": 3, "in_use": 2, "waiting": 0, "broken": 0, "replaced": 0},
                            "limiter": {"held": 2, "total": 10},
                            "open_streams": 1,
                            "engine": "dbos-sqlite",
                            "replicas": 1,
                            "models": ["builtin"],
                            "tools": ["search_documents", "read_document"],
                            "tools_missing": {"run_python": "bubblewrap is not installed"},
                            "sandbox": None,
                            "mcp_servers": [],
                            "knowledge": {"state": "ready", "documents": 12, "passages": 340},
                        },
                    ),
                ),
            ),
        ),
    ),
    "GET /ready": RouteDescription(
        answers=(
            Answer(status=200, meaning="Work may be sent here.", bodies=(json_body(Readiness, {"status": "ok"}),)),
            Answer(
                status=503,
                meaning="It may not: the server is starting, draining or cut off from its database.",
                bodies=(json_body(Readiness, {"status": "draining"}),),
            ),
        ),
    ),
    "GET /metrics": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="Metrics in Prometheus' text format.",
                bodies=(text_body("text/plain", "thinkpool_active_requests 2.0\n"),),
            ),
        ),
    ),
    "GET /openapi.json": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The description.",
                bodies=(
                    Body(
                        media_type=JSON,
                        schema={"type": "object", "required": ["openapi", "info", "paths", "components"]},
                        example={"openapi": "3.1.0", "info": {}, "paths": {}, "components": {}},
                    ),
                ),
            ),
        ),
    ),
}
