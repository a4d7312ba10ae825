"""Whether a trial kept every promise: a pure function from what was observed to what was broken."""

from collections.abc import Iterator
from dataclasses import dataclass

from chaos.call_rules import call_findings
from chaos.finding import Finding
from chaos.history import History
from chaos.log_rules import log_findings
from chaos.post_rules import post_findings
from chaos.stream_rules import stream_findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What a scenario promises beyond what always holds."""

    must_complete: bool = True
    """Whether every run ends in a report: nothing in the scenario gives a run cause to fail or be cancelled."""
    cancel_seconds: float = 1.0
    """How long after a run's cancellation a call of it may still begin."""


def check(history: History, promises: Promises | None = None) -> list[Finding]:
    """Every finding, none when all is well; grouped by what they are about."""
    return list(_findings(history, promises or Promises()))


def _findings(history: History, promises: Promises) -> Iterator[Finding]:
    yield from post_findings(history)
    yield from stream_findings(history)
    yield from log_findings(history, must_complete=promises.must_complete)
    yield from call_findings(history, cancel_seconds=promises.cancel_seconds)
