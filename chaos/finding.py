"""What the checker says: one broken promise, by name."""

from dataclasses import dataclass
from typing import Literal

FindingName = Literal[
    "lost-event",
    "missing-first-event",
    "gap-across-reconnect",
    "duplicate-event",
    "reordered-event",
    "different-bytes",
    "replica-differs",
    "unstored-event",
    "resume-refused",
    "two-terminals",
    "event-after-terminal",
    "stored-gap",
    "illegal-log",
    "unended-run",
    "unknown-run",
    "status-differs",
    "unexpected-ending",
    "chat-differs",
    "recorded-call-repeated",
    "torn-call-repeated",
    "stray-call",
    "call-after-end",
    "key-made-two-runs",
    "conflict-not-refused",
    "refused-without-retry-after",
    "internal-error",
]
"""Each is explained in `docs/chaos.md`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise that was not kept."""

    name: FindingName
    subject: str
    """The run, or the Idempotency-Key, that it is about."""
    detail: str

    def __str__(self) -> str:
        return f"{self.name} {self.subject}: {self.detail}"
