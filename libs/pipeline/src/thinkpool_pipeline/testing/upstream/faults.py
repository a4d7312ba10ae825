"""Faults on demand, as values: which calls they meet, how often, and what is done to the answer."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from thinkpool_pipeline.testing.upstream.ledger import Endpoint, LedgerEntry

FaultKind = Literal[
    "rate-limited",
    "status",
    "reset",
    "stall",
    "slow",
    "drip",
    "truncated",
    "endless",
    "malformed-json",
    "garbage",
    "html",
    "invalid-utf8",
    "empty-choices",
    "error-body",
    "error-event",
    "wrong-content-type",
    "gzip-bomb",
    "no-tools",
]
"""What can go wrong; `misbehaviour` says what each does."""

RetryAfter = Literal["none", "seconds", "float", "date", "milliseconds", "absurd"]
"""The forms in which a refusal says when to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and for whom. Patterns are those of `fnmatch`; `*` matches slashes, too."""

    kind: FaultKind
    endpoint: Endpoint | None = None
    """None for every endpoint."""
    run_id: str = "*"
    step: str = "*"
    api_key: str = "*"
    probability: float = 1.0
    times: int | None = None
    """How many calls it meets at most; None for no limit."""
    status: int = 503
    """Of kind `status`."""
    retry_after: RetryAfter = "none"
    """Of kinds `rate-limited` and `status`."""
    wait_seconds: float = 1.0
    """What `retry_after` says; the delay of `slow`; the time between two bytes of `drip`."""
    after_bytes: int = 0
    """How much of the answer's body precedes a `reset` (0: not even the headers), an `error-event` or a `truncated` end
    (0: half of it)."""

    def fits(self, entry: LedgerEntry) -> bool:
        """Whether it is meant for this call."""
        return (
            self.endpoint in (None, entry.endpoint)
            and fnmatchcase(entry.run_id, self.run_id)
            and fnmatchcase(entry.step, self.step)
            and fnmatchcase(entry.api_key, self.api_key)
        )


@dataclass(slots=True)
class FaultPlan:
    """The faults in force. The first that fits a call, has not run out and wins its draw meets it."""

    seed: int = 0
    _faults: list[Fault] = field(default_factory=list[Fault])
    _met: list[int] = field(default_factory=list[int])
    _generator: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._generator.seed(self.seed)

    def __repr__(self) -> str:
        return f"<FaultPlan [{', '.join(fault.kind for fault in self._faults)}]>"

    def add(self, *faults: Fault) -> None:
        """Puts faults in force, after those that are."""
        self.extend(faults)

    def extend(self, faults: Sequence[Fault]) -> None:
        """Puts several in force."""
        self._faults.extend(faults)
        self._met.extend(0 for _ in faults)

    def clear(self) -> None:
        """Ends every fault and starts the draws anew."""
        self._faults.clear()
        self._met.clear()
        self._generator.seed(self.seed)

    def pick(self, entry: LedgerEntry) -> Fault | None:
        """The fault that meets this call."""
        for index, fault in enumerate(self._faults):
            is_left = fault.times is None or self._met[index] < fault.times
            if is_left and fault.fits(entry) and self._generator.random() < fault.probability:
                self._met[index] += 1
                return fault
        return None
