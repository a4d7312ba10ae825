"""What goes wrong at the simulated E2B, as values."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from thinkpool_pipeline.testing.e2b.ledger import CallRecord, Endpoint

FaultKind = Literal[
    "status",
    "html",
    "reset",
    "unheard",
    "slow",
    "stall",
    "truncated",
    "garbage",
    "odd",
    "lost",
]
"""status: an error in E2B's form; html: one of a gateway; reset: the connection breaks, nothing is done; unheard: it is
done, and the connection breaks instead of the answer; slow: done after a while; stall: never answered, nothing is done;
truncated: the answer's stream breaks off; garbage: success with bytes of no meaning; odd: success with JSON of another
shape; lost: the sandbox is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and for whom. Patterns are those of `fnmatch`."""

    kind: FaultKind
    endpoint: Endpoint | None = None
    """None for every endpoint."""
    run_id: str = "*"
    api_key: str = "*"
    times: int | None = None
    """How many calls it meets at most; None for no limit."""
    status: int = 503
    """Of kinds `status` and `html`."""
    retry_after_seconds: int | None = None
    """Of kind `status`: what `Retry-After` says; None for no such header."""
    seconds: float = 0.1
    """Of kind `slow`."""
    after_lines: int = 1
    """Of kind `truncated`: how much of the stream comes before."""

    def fits(self, call: CallRecord) -> bool:
        """Whether it is meant for this call."""
        return (
            self.endpoint in (None, call.endpoint)
            and fnmatchcase(call.run_id, self.run_id)
            and fnmatchcase(call.api_key, self.api_key)
        )


@dataclass(slots=True)
class FaultPlan:
    """The faults in force; the first that fits a call and has not run out meets it."""

    _faults: list[Fault] = field(default_factory=list[Fault])
    _met: list[int] = field(default_factory=list[int])

    def add(self, *faults: Fault) -> None:
        """Puts faults in force, after those that are."""
        self._faults.extend(faults)
        self._met.extend(0 for _ in faults)

    def clear(self) -> None:
        """Ends every fault."""
        self._faults.clear()
        self._met.clear()

    def pick(self, call: CallRecord) -> Fault | None:
        """The fault that meets this call."""
        for index, fault in enumerate(self._faults):
            if (fault.times is None or self._met[index] < fault.times) and fault.fits(call):
                self._met[index] += 1
                return fault
        return None
