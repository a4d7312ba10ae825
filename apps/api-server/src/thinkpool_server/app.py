"""The HTTP application: routes, what surrounds them, and the runtime that they are given when the server starts."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import TypeAlias

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from thinkpool_pipeline.errors import PipelineError

from thinkpool_server.api_description import ServedDocument, describe, operation_id
from thinkpool_server.auth import Authentication, KeyRing
from thinkpool_server.error_responses import (
    on_bug,
    on_http_exception,
    on_pipeline_error,
    on_validation_error,
    on_wrong_method,
)
from thinkpool_server.mcp_server import McpEndpoint
from thinkpool_server.metrics import Metrics
from thinkpool_server.protocols import Runtime
from thinkpool_server.request_context import RequestContext
from thinkpool_server.request_limits import RequestLimits
from thinkpool_server.routes import chat, extended_chat, mcp, models, operations, research, responses, ui_chat
from thinkpool_server.routes.dependencies import RUN_ID_HEADER
from thinkpool_server.settings import Settings

BuildRuntime: TypeAlias = Callable[[Settings], AbstractAsyncContextManager[Runtime]]
"""Opens everything that routes need, and closes it."""

_ROUTERS = (
    ui_chat.router,
    research.router,
    chat.router,
    extended_chat.router,
    responses.router,
    mcp.router,
    models.router,
    operations.router,
)
_LAG_PROBE_SECONDS = 0.25


def create_app(settings: Settings, build_runtime: BuildRuntime) -> FastAPI:
    """The application; `build_runtime` is entered when the server starts and left when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with build_runtime(settings) as runtime:
            runtime.metrics.close_routes(_methods())
            app.state.runtime = runtime
            app.state.mcp = McpEndpoint(runtime)
            app.state.document = ServedDocument(app.openapi)
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(_probe_loop_lag(runtime.metrics)), group.create_task(app.state.mcp.run())]
                yield
                for task in beside:
                    task.cancel()

    app = FastAPI(
        title="ThinkPool",
        summary="Deep-research agents for many people at once.",
        lifespan=lifespan,
        openapi_url=None,  # one of our own routes
        generate_unique_id_function=operation_id,
        # Metrics and logs are the project's own; nothing is exported because of an environment variable.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # a redirect would be built from the Host header
    )
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(PipelineError, on_pipeline_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, on_wrong_method(_methods()))
    app.add_exception_handler(Exception, on_bug)
    _surround(app, settings)
    app.openapi = cache(partial(describe, app))
    return app


def _surround(app: FastAPI, settings: Settings) -> None:
    """Adds the layers around the routes, the innermost first."""

    def current_metrics() -> Metrics:
        return app.state.runtime.metrics

    app.add_middleware(Authentication, key_ring=KeyRing(settings.server_api_keys))
    app.add_middleware(
        RequestLimits,
        max_body_bytes=settings.max_body_bytes,
        max_input_file_bytes=settings.max_input_file_bytes,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=settings.cors_credentials,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=("Location", "Retry-After", "X-Request-Id", RUN_ID_HEADER, "Mcp-Session-Id"),
        )
    app.add_middleware(RequestContext, current_metrics=current_metrics)


@cache
def _methods() -> Mapping[str, Sequence[str]]:
    """Of each route's path, the methods that it has."""
    routes = (route for router in _ROUTERS for route in router.routes if isinstance(route, Route))
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).extend(sorted(route.methods or ()))
    return methods


async def _probe_loop_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_PROBE_SECONDS
        await asyncio.sleep(_LAG_PROBE_SECONDS)
        metrics.observe_loop_lag(max(0.0, loop.time() - due))
