import asyncio
import contextlib

import pytest
from thinkpool_pipeline.outward import BreakerOpen, RateLimited, Unavailable
from thinkpool_pipeline.outward.breaker import FAILURES_TO_OPEN, CircuitBreaker


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable), breaker.permit():
            raise Unavailable("reset")


def test_opens_after_failures_in_a_row_and_refuses_with_the_time_left(time):
    breaker = CircuitBreaker(lambda: time.now)
    fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.state == "closed"
    fail(breaker)
    assert repr(breaker) == f"<CircuitBreaker [open, {FAILURES_TO_OPEN} failures in a row]>"
    time.now += 0.75
    with pytest.raises(BreakerOpen) as refused, breaker.permit():
        pass
    assert refused.value.retry_after_seconds == pytest.approx(0.25)


def test_a_success_in_between_starts_the_count_again(time):
    breaker = CircuitBreaker(lambda: time.now)
    for _ in range(3):
        fail(breaker, FAILURES_TO_OPEN - 1)
        with breaker.permit():
            pass
    assert breaker.state == "closed"


def test_a_refusal_is_a_sign_of_life(time):
    breaker = CircuitBreaker(lambda: time.now)
    fail(breaker, FAILURES_TO_OPEN - 1)
    with pytest.raises(RateLimited), breaker.permit():
        raise RateLimited
    fail(breaker)
    assert breaker.state == "closed"


def test_half_open_lets_one_probe_through_and_its_success_closes(time):
    breaker = CircuitBreaker(lambda: time.now)
    fail(breaker, FAILURES_TO_OPEN)
    time.now += 1
    assert breaker.state == "half_open"
    with breaker.permit(), pytest.raises(BreakerOpen):
        breaker.check()
    assert breaker.state == "closed"
    breaker.check()


def test_each_failed_probe_doubles_the_time_up_to_half_a_minute(time):
    breaker = CircuitBreaker(lambda: time.now)
    fail(breaker, FAILURES_TO_OPEN)
    waits = []
    for _ in range(7):
        with pytest.raises(BreakerOpen) as refused:
            breaker.check()
        waits.append(refused.value.retry_after_seconds)
        time.now += waits[-1]
        fail(breaker)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_cancelled_probe_teaches_nothing_and_makes_room_for_the_next(time):
    breaker = CircuitBreaker(lambda: time.now)
    fail(breaker, FAILURES_TO_OPEN)
    time.now += 1
    with pytest.raises(asyncio.CancelledError), breaker.permit():
        raise asyncio.CancelledError
    assert breaker.state == "half_open"
    with breaker.permit():
        pass
    assert breaker.state == "closed"


def test_late_failures_of_calls_begun_before_do_not_lengthen_the_opening(time):
    breaker = CircuitBreaker(lambda: time.now)
    with contextlib.suppress(Unavailable), breaker.permit():
        fail(breaker, FAILURES_TO_OPEN)
        raise Unavailable("reset")
    time.now += 1
    assert breaker.state == "half_open"
