"""Leaves a service alone that keeps failing, and asks it again with one call at a time."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from thinkpool_pipeline.outward.failures import BreakerOpen, OutwardError
from thinkpool_pipeline.protocols import Clock

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]

FAILURES_TO_OPEN = 10
"""In a row, over all calls to the provider."""
FIRST_OPEN_SECONDS = 1.0
"""Short, so that calls ride out a blip; doubled by each probe that fails."""
LONGEST_OPEN_SECONDS = 30.0
PROBE_WAIT_SECONDS = 0.5
"""What a call is told to wait while another one probes."""


class CircuitBreaker:
    """Closed: all pass. Open: none, until its time is over. Half-open: one probe, whose outcome decides."""

    def __init__(self, clock: Clock, *, failures_to_open: float = FAILURES_TO_OPEN) -> None:
        """Opens after so many failures in a row; never, where they are infinitely many."""
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._failures = 0
        self._openings = 0
        self._open_until: float | None = None
        self._is_probing = False

    def __repr__(self) -> str:
        return f"<CircuitBreaker [{self.state}, {self._failures} failures in a row]>"

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half_open"

    def check(self) -> None:
        """Does nothing where a call would be let through.

        Raises:
            BreakerOpen: where it would not.

        """
        if self._open_until is None:
            return
        remaining_seconds = self._open_until - self._clock()
        if remaining_seconds > 0:
            raise BreakerOpen(retry_after_seconds=remaining_seconds)
        if self._is_probing:
            raise BreakerOpen(retry_after_seconds=PROBE_WAIT_SECONDS)

    @contextmanager
    def permit(self) -> Generator[None]:
        """Lets one call through and learns from its outcome; a cancelled one teaches nothing.

        Raises:
            BreakerOpen: the call is not to be made.

        """
        self.check()
        is_probe = self._open_until is not None
        self._is_probing = self._is_probing or is_probe
        try:
            yield
        except OutwardError as error:
            if error.is_outage:
                self._fail()
            elif error.is_sign_of_life:
                self.succeed()
            raise
        else:
            self.succeed()
        finally:
            if is_probe:
                self._is_probing = False

    def succeed(self) -> None:
        """Notes that the service answers: all may pass. A long stream says so when it begins."""
        self._failures = 0
        self._openings = 0
        self._open_until = None

    def _fail(self) -> None:
        self._failures += 1
        is_open = self.state == "open"
        is_due = self._failures >= self._failures_to_open or self._open_until is not None
        if is_due and not is_open:
            open_seconds = min(FIRST_OPEN_SECONDS * 2.0**self._openings, LONGEST_OPEN_SECONDS)
            self._openings += 1
            self._open_until = self._clock() + open_seconds
