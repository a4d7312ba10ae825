"""What a reply that is no success means, by its status, its headers and, where the caller asks, its first bytes."""

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import httpx

from thinkpool_pipeline.outward.body import TRANSPORT_ERRORS, Body
from thinkpool_pipeline.outward.failures import OutwardError, RateLimited, Refused, Unavailable
from thinkpool_pipeline.outward.retry import retry_after_seconds

Explain: TypeAlias = Callable[[int, bytes], OutwardError | None]
"""Makes an error of a status from 300 on and the first bytes of its body; None for the one the status stands for."""

ERROR_BODY_BYTES = 65_536
"""As much of a refusal as is looked at."""


async def first_bytes(response: httpx.Response, heard: Callable[[], None]) -> bytes:
    """What a refusal says; nothing when it says too much, or breaks off."""
    body = Body(response, max_bytes=ERROR_BODY_BYTES, heard=heard)
    with contextlib.suppress(OutwardError, *TRANSPORT_ERRORS):
        return await body.read()
    return b""


def failure_by_status(response: httpx.Response, *, now: float, longest_wait_seconds: float) -> OutwardError:
    """The error that a status stands for; `now` in seconds since the epoch."""
    status = response.status_code
    wait_seconds = retry_after_seconds(response.headers, now, longest_wait_seconds)
    if status == 429:
        return RateLimited(retry_after_seconds=wait_seconds)
    if status in (408, 409, 425) or status >= 500:
        return Unavailable(f"status {status}", retry_after_seconds=wait_seconds)
    return Refused(status)
