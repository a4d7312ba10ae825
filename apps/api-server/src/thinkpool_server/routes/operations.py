"""What operators and their machines ask: is it alive, may it be sent work, what does it count. Open to all."""

from dataclasses import asdict

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from thinkpool_server.answer_shapes.operations import State
from thinkpool_server.metrics import CONTENT_TYPE
from thinkpool_server.routes.dependencies import CurrentRuntime
from thinkpool_server.service_statistics import ServiceStatistics

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health(runtime: CurrentRuntime) -> Response:
    """200 as long as the process answers, with its figures; `status` says whether it is also ready."""
    figures = runtime.service.statistics()
    body = {
        "status": _state(figures),
        "version": runtime.version,
        "replica": figures.replica,
        "active_requests": figures.active_runs,
        "queued_requests": figures.queued_runs,
        "pool_size": figures.pool.size,
        "pool": asdict(figures.pool),
        "limiter": {"held": figures.limiter.held, "total": figures.limiter.total},
        "open_streams": figures.open_streams,
        "engine": figures.engine,
        "replicas": figures.replicas,
        "models": list(runtime.model_names),
        "tools": list(figures.tools.offered),
        "tools_missing": dict(figures.tools.missing),
        "sandbox": figures.tools.sandbox,
        "mcp_servers": [asdict(server) for server in figures.tools.mcp_servers],
        "knowledge": asdict(figures.knowledge),
    }
    return Response(orjson.dumps(body), media_type="application/json")


@router.get("/ready")
async def ready(runtime: CurrentRuntime) -> Response:
    """200 when work may be sent here; 503 while starting, draining or cut off from the database."""
    state = _state(runtime.service.statistics())
    status = 200 if state == "ok" else 503
    return Response(orjson.dumps({"status": state}), status, media_type="application/json")


@router.get("/metrics")
async def metrics(runtime: CurrentRuntime) -> Response:
    """Everything Prometheus may want to know."""
    body = runtime.metrics.render(runtime.service.statistics())
    return Response(body, headers={"Content-Type": CONTENT_TYPE})


@router.get("/openapi.json")
async def describe_api(request: Request) -> Response:
    """The API's description in OpenAPI's format (3.1)."""
    return Response(await request.app.state.document.text(), media_type="application/json")


def _state(figures: ServiceStatistics) -> State:
    if figures.is_draining:
        return "draining"
    if not figures.is_started:
        return "starting"
    return "ok" if figures.is_database_ok else "database-unreachable"
