"""What routes are given: the runtime, the tenant, the run's id, and what the asker may ask for.

All of it is coroutines, though none waits: a plain function would be called in a thread, for each request.
"""

import re
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from thinkpool_pipeline.errors import UnknownRun
from thinkpool_pipeline.values import RunId

from thinkpool_server.auth import current_tenant
from thinkpool_server.errors import InvalidHeader
from thinkpool_server.protocols import Runtime
from thinkpool_server.runs import Sending, Tenant
from thinkpool_server.schemas import RequestFile, RequestMessage
from thinkpool_server.submissions import Asker
from thinkpool_server.webhook_rules import WebhookRules

RUN_ID_HEADER = "X-ThinkPool-Run-Id"

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")
_PROXY_KEY_PREFIX = "nginx-"  # as nginx.conf makes them for POSTs that have no key
_RETRY_COUNT = re.compile(r"0*[1-9][0-9]{0,3}")


async def current_runtime(request: Request) -> Runtime:
    """What the composition root handed over."""
    return request.app.state.runtime


CurrentRuntime = Annotated[Runtime, Depends(current_runtime)]
CurrentTenant = Annotated[Tenant, Depends(current_tenant)]


def id_in_path(description: str, example: str, pattern: str = _RUN_ID.pattern) -> Any:
    """How an id in a path is described. One of another form is not refused for that: nothing has it, which is a 404."""
    return Path(description=description, examples=[example], json_schema_extra={"pattern": f"^{pattern}$"})


RunIdInPath = Annotated[str, id_in_path("The run.", "run_1k3qv9")]


async def checked_run_id(run_id: RunIdInPath) -> RunId:
    """The path's run id.

    Raises:
        UnknownRun: no run can have it: the same answer as for one that does not exist.

    """
    if not _RUN_ID.fullmatch(run_id):
        raise UnknownRun
    return RunId(run_id)


async def current_asker(request: Request, runtime: CurrentRuntime, tenant: CurrentTenant) -> Asker:
    """Who asks for a run, and whether for the first time.

    OpenAI's clients count their retries in `x-stainless-retry-count`; it is 0 at first.

    Raises:
        InvalidHeader: the Idempotency-Key is empty, too long, or not printable ASCII.

    """
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidHeader("The Idempotency-Key should be 1 to 255 printable ASCII characters.")
    is_proxy_key = key is not None and key.startswith(_PROXY_KEY_PREFIX)
    return Asker(
        tenant=tenant,
        idempotency_key=None if is_proxy_key else key,
        sending=Sending(
            proxy_key=key if is_proxy_key else None,
            is_retry=_RETRY_COUNT.fullmatch(request.headers.get("x-stainless-retry-count", "")) is not None,
        ),
        model_names=runtime.model_names,
        budget=runtime.settings.budget,
        max_text_bytes=runtime.settings.max_body_bytes,
        max_input_file_bytes=runtime.settings.max_input_file_bytes,
        webhooks=WebhookRules.of(runtime.settings),
    )


def forget_body(
    request: Request, messages: list[RequestMessage] | None, files: list[RequestFile] | None = None
) -> None:
    """Lets go of a body once it is a run: the framework would keep it, with its files, as long as the answer takes."""
    for name in ("_body", "_json"):
        vars(request).pop(name, None)
    for items in (messages, files):
        if items:
            items.clear()


CheckedRunId = Annotated[RunId, Depends(checked_run_id)]
CurrentAsker = Annotated[Asker, Depends(current_asker)]
