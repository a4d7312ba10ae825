"""A stop event that can also be woken: what the claim worker waits on, instead of sleeping through its interval.

The worker asks `wait(timeout)` before each look at the queue and ends when it returns True. It returns False early when
there may be work, so that the interval is only a safety net.
"""

import threading
import time

GROUP_SECONDS = 0.05
"""In a burst, looks at the queue are this far apart; two looks after a quiet moment come at once."""


class WakeableStop:
    """A `threading.Event` with a second way to end a wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_stopped = False
        self._is_woken = False
        self._last_look = 0.0
        self._is_burst = False

    def wake(self) -> None:
        """Makes the worker look at the queue now. Callable from any thread; never blocks for long."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def set(self) -> None:
        """Ends the worker."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()

    def is_set(self) -> bool:
        """Whether the worker is to end."""
        return self._is_stopped

    def wait(self, timeout: float | None = None) -> bool:
        """Returns when woken, stopped, or after `timeout` seconds; whether to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_woken or self._is_stopped, timeout)
            since_last_look = time.monotonic() - self._last_look
            if self._is_woken and self._is_burst:
                self._changed.wait_for(lambda: self._is_stopped, max(0.0, GROUP_SECONDS - since_last_look))
            self._is_burst = since_last_look < GROUP_SECONDS
            self._is_woken = False
            self._last_look = time.monotonic()
            return self._is_stopped
