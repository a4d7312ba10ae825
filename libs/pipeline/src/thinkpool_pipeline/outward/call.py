"""A call as a value: what is sent, and what it may take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from thinkpool_pipeline.values import RunId, StepName


@dataclass(frozen=True, slots=True, kw_only=True)
class OutwardCall:
    """One call: what is sent, and what it may take."""

    method: Literal["GET", "POST", "DELETE"]
    url: str
    total_seconds: float
    """For everything: waiting, all tries, reading."""
    idle_seconds: float
    """The longest silence while a try is out."""
    max_body_bytes: int
    """Of the reply, unpacked."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    content: bytes = field(default=b"", repr=False)
    key_header: str = ""
    """The header that takes one of the provider's keys, another one with each try; empty for a call without a key."""
    key_prefix: str = ""
    """What stands before the key in its header, such as `Bearer ` with its space."""
    takes_redirects: bool = False
    """Whether a 3xx goes to the reader, which finds `location` in the body's headers, instead of being refused."""


def call_headers(run_id: RunId, step: StepName) -> dict[str, str]:
    """The headers by which a provider, and its ledger, knows a call again; none where there is no run."""
    if not run_id:
        return {}
    return {"idempotency-key": f"{run_id}/{step}", "x-thinkpool-run": run_id, "x-thinkpool-step": step}
