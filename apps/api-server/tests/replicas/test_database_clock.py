import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_server.replicas.database_clock import DatabaseClock

AHEAD = 1_000_000.0
"""By which the database's clock is ahead of this machine's."""

delays = st.floats(0.0, 3.0)


def clock_after(*answers: tuple[float, float, float]) -> DatabaseClock:
    """After answers that were asked for at these moments and took so long there and back."""
    clock = DatabaseClock(lambda: 100.0)
    for asked_at, there, back in answers:
        clock.note(AHEAD + asked_at + there, asked_at=asked_at, answered_at=asked_at + there + back)
    return clock


@given(st.lists(st.tuples(delays, delays), min_size=1))
def test_it_is_never_wrong_by_more_than_the_quickest_answer_took(ways: list[tuple[float, float]]) -> None:
    clock = clock_after(*((float(number), there, back) for number, (there, back) in enumerate(ways)))
    assert abs(clock.now() - AHEAD - 100.0) <= min(there + back for there, back in ways) + 1e-6


def test_a_slow_answer_does_not_move_it() -> None:
    assert clock_after((1.0, 0.001, 0.001), (2.0, 0.0, 0.5), (3.0, 0.5, 0.0)).now() == pytest.approx(
        AHEAD + 100.0, abs=0.001
    )


def test_it_follows_a_database_whose_clock_is_set() -> None:
    clock = clock_after((1.0, 0.001, 0.001))
    for by in (3600.0, -3600.0):
        clock.note(AHEAD + by + 2.001, asked_at=2.0, answered_at=2.002)
        assert clock.now() == pytest.approx(AHEAD + by + 100.0, abs=0.002)
