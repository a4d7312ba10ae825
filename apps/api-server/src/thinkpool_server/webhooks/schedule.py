"""When a webhook that failed is tried again: after 5 s, then twice as long each time up to an hour, for a day."""

RETRIED_SECONDS = 86_400.0
"""How long after its run's end a webhook is given up."""

_FIRST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 3_600.0
_JITTER = 0.2


def next_attempt_at(
    *, ended_at: float, now: float, attempt: int, retry_after_seconds: float | None, chance: float
) -> float | None:
    """When to try again after this attempt, the first being 1, failed; None when it is given up.

    All times are in seconds since the epoch. A receiver that names a later time is left alone until then; the last try
    is at the end of the day, however long the wait would be. `chance`, from 0 up to 1, spreads the tries of many.
    """
    last_at = ended_at + RETRIED_SECONDS
    if now >= last_at:
        return None
    wait_seconds = min(_FIRST_WAIT_SECONDS * 2.0 ** min(attempt - 1, 20), _LONGEST_WAIT_SECONDS)
    wait_seconds *= 1.0 + _JITTER * chance
    return min(now + max(wait_seconds, retry_after_seconds or 0.0), last_at)
