"""When to ask again: waits by class of error, and a budget that keeps retries from becoming the load."""

import math
from email.utils import parsedate_to_datetime

import httpx

from thinkpool_pipeline.outward.failures import BreakerOpen, OutwardError
from thinkpool_pipeline.outward.timing import Timing

MAX_RETRY_AFTER_SECONDS = 60.0
"""A service that asks for more is asked again after this long."""
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
BUDGET_PER_CALL = 0.4
"""Retries earned by each call: one error in ten is always covered, and errors in every second call never more than
multiply the load by 1.4."""
FIRST_BUDGET = 10.0
"""Retries there are before anything was earned."""
LARGEST_BUDGET = 250.0
"""The most that can be saved up: what all streams of a busy replica need when a service restarts under them."""


def retry_after_seconds(
    headers: httpx.Headers, now: float, longest_seconds: float = MAX_RETRY_AFTER_SECONDS
) -> float | None:
    """What the headers ask to wait, from 0 up to the longest; None where they do not say or make no sense.

    Source: RFC 9110, 10.2.3 (seconds or a date); fractions and `retry-after-ms` as OpenAI's services send them.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(max(milliseconds / 1000, 0.0), longest_seconds)
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return min(max(seconds, 0.0), longest_seconds)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), longest_seconds)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


class RetryBudget:
    """How many retries a provider may still see."""

    def __init__(self) -> None:
        self._tokens = FIRST_BUDGET

    def earn(self) -> None:
        """Notes a call."""
        self._tokens = min(self._tokens + BUDGET_PER_CALL, LARGEST_BUDGET)

    def spend(self) -> bool:
        """Takes one retry; False when there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class RetryPolicy:
    """Decides whether, and after how long, a failed call is tried again."""

    def __init__(self, *, max_retries: int, open_patience_seconds: float, timing: Timing) -> None:
        self._max_retries = max_retries
        self._open_patience_seconds = open_patience_seconds
        self._timing = timing
        self._budget = RetryBudget()

    def note_call(self) -> None:
        """Notes a new call, which earns a part of a retry."""
        self._budget.earn()

    def wait_seconds(self, error: OutwardError, *, retries: int, remaining_seconds: float) -> float | None:
        """How long to wait before the next try; None when there is to be none."""
        if retries >= min(self._max_retries, error.max_retries):
            return None
        if error.retry_after_seconds is None:
            wait = self._timing.random() * min(FIRST_WAIT_SECONDS * 2.0**retries, LONGEST_WAIT_SECONDS)
        else:
            wait = error.retry_after_seconds * (1.0 + 0.1 * self._timing.random())
        if wait >= remaining_seconds:
            return None
        if isinstance(error, BreakerOpen):  # nothing was sent, so nothing is spent
            return wait if (error.retry_after_seconds or 0.0) <= self._open_patience_seconds else None
        return wait if self._budget.spend() else None
