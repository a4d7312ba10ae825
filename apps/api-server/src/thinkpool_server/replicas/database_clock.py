"""The database's clock, as far as a replica can know it from answers that take a while to come."""

import time
from collections.abc import Callable


class DatabaseClock:
    """Replicas compare moments by it: their own clocks differ.

    Each answer says between which two moments of this machine the database's clock stood where it says. A guess that an
    answer allows is kept, so that a slow one does not move it; any other goes to the nearest that the answer allows.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is this machine's, in seconds; nothing ever sets it."""
        self._clock = clock
        self._began_at: float | None = None
        """When this machine's clock was zero, by the database's, in seconds since the epoch."""

    def __repr__(self) -> str:
        return f"<DatabaseClock {self.now():.3f}>"

    def now(self) -> float:
        """In seconds since the epoch, once there was an answer."""
        return (self._began_at or 0.0) + self._clock()

    def note(self, theirs: float, *, asked_at: float, answered_at: float) -> None:
        """Takes in that the database's clock said `theirs` between the two moments of this machine's."""
        earliest, latest = theirs - answered_at, theirs - asked_at
        guess = (earliest + latest) / 2 if self._began_at is None else self._began_at
        self._began_at = min(max(guess, earliest), latest)
