import random

import pytest
from thinkpool_pipeline.outward import (
    BreakerOpen,
    DeadlinePassed,
    RateLimited,
    Refused,
    Timing,
    Unavailable,
    Unreadable,
)
from thinkpool_pipeline.outward.retry import RetryPolicy


def policy(chance: float = 1.0, max_retries: int = 3) -> RetryPolicy:
    timing = Timing(random=lambda: chance)
    return RetryPolicy(max_retries=max_retries, open_patience_seconds=1.5, timing=timing)


def test_waits_grow_and_are_jittered_over_their_whole_length():
    error = Unavailable("status 503")
    assert [policy(1.0).wait_seconds(error, retries=n, remaining_seconds=99) for n in range(4)] == [0.5, 1.0, 2.0, None]
    assert policy(0.0).wait_seconds(error, retries=2, remaining_seconds=99) == 0.0


def test_what_the_service_asks_for_is_waited_at_least():
    error = RateLimited(retry_after_seconds=10)
    assert policy(0.0).wait_seconds(error, retries=0, remaining_seconds=99) == 10
    assert policy(1.0).wait_seconds(error, retries=0, remaining_seconds=99) == pytest.approx(11)


def test_a_wait_that_would_pass_the_deadline_is_not_begun():
    assert policy().wait_seconds(RateLimited(retry_after_seconds=10), retries=0, remaining_seconds=10) is None


@pytest.mark.parametrize(
    ("error", "retries"),
    [
        (Unavailable("reset"), 3),
        (RateLimited(), 3),
        (DeadlinePassed(seconds=1, is_idle=True), 1),
        (DeadlinePassed(seconds=1, is_idle=False), 0),
        (Refused(400), 0),
        (Unreadable("garbage"), 2),
        (Unreadable("garbage", is_worth_retrying=False), 0),
    ],
)
def test_each_class_of_error_is_retried_as_often_as_it_is_worth(error, retries):
    asked = policy()
    assert [asked.wait_seconds(error, retries=n, remaining_seconds=99) is not None for n in range(5)] == [
        n < retries for n in range(5)
    ]


def test_settings_may_allow_fewer_retries():
    assert policy(max_retries=0).wait_seconds(Unavailable("reset"), retries=0, remaining_seconds=99) is None


def test_an_open_breaker_is_waited_for_within_the_patience_and_costs_no_budget():
    asked = policy(0.0)
    for _ in range(100):
        assert asked.wait_seconds(BreakerOpen(retry_after_seconds=1.5), retries=0, remaining_seconds=99) == 1.5
    assert asked.wait_seconds(BreakerOpen(retry_after_seconds=1.6), retries=0, remaining_seconds=99) is None


@pytest.mark.parametrize(
    ("error_rate", "amplification", "failed"), [(0.1, 1.2, 0.001), (0.5, 1.42, 1.0), (1.0, 1.42, 1.0)]
)
def test_retries_cover_one_error_in_ten_and_never_become_the_load(error_rate, amplification, failed):
    chance = random.Random(7)
    asked = policy()
    calls, requests, failures = 2000, 0, 0
    for _ in range(calls):
        asked.note_call()
        for retries in range(9):
            requests += 1
            if chance.random() >= error_rate:
                break
            if asked.wait_seconds(Unavailable("status 500"), retries=retries, remaining_seconds=99) is None:
                failures += 1
                break
    assert requests / calls <= amplification
    assert failures / calls <= failed


def test_a_long_good_time_saves_up_for_a_blip_but_not_without_bound():
    asked = policy()
    for _ in range(10_000):
        asked.note_call()
    granted = sum(
        asked.wait_seconds(Unavailable("reset"), retries=0, remaining_seconds=99) is not None for _ in range(1000)
    )
    assert granted == 250
