"""Whether this machine's clock agrees with those of the machines it works with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from thinkpool_server.cli.doctor.findings import Finding, ok, warning

MOST_SECONDS: Final = 2.0
"""Clocks that are further apart order things wrongly that people see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Another machine's clock against ours."""

    of: str
    """Whose it is: `the database`."""
    ahead_seconds: float
    """How far it is ahead of ours, at least; negative when it is behind."""


def reading(of: str, earliest: float, latest: float, *, asked_at: float, answered_at: float) -> ClockReading:
    """What is certain of a clock that stood between `earliest` and `latest` when we asked it; seconds since the epoch.

    The answer was given at some moment between the question and its arrival here.
    """
    least, most = earliest - answered_at, latest - asked_at
    ahead = least if least > 0 else most if most < 0 else 0.0
    return ClockReading(of=of, ahead_seconds=ahead)


def date_reading(of: str, date: str, *, asked_at: float) -> ClockReading | None:
    """What a reply's Date header says, which knows no fractions; None when it says nothing.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-date
    """
    try:
        second = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
    return reading(of, second, second + 1, asked_at=asked_at, answered_at=time.time())


def clock_findings(readings: Sequence[ClockReading]) -> list[Finding]:
    """One finding for all clocks that agree, one for each that does not."""
    if not readings:
        return [ok("clock", "nothing to compare it with: no database and no endpoint of another machine")]
    wrong = [one for one in readings if abs(one.ahead_seconds) > MOST_SECONDS]
    agreeing = dict.fromkeys(one.of for one in readings if one not in wrong)
    found = [ok("clock", f"agrees with that of {' and '.join(agreeing)}")] if agreeing else []
    return [*found, *map(_apart, wrong)]


def _apart(one: ClockReading) -> Finding:
    direction = "behind" if one.ahead_seconds > 0 else "ahead of"
    return warning(
        "clock",
        f"is {abs(one.ahead_seconds):.1f} s {direction} that of {one.of}",
        mend="let both machines set their clocks over the network (chrony, systemd-timesyncd)",
    )
