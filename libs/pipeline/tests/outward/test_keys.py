import pytest
from thinkpool_pipeline.outward import KeysExhausted, OutwardError, RateLimited, Refused, Unavailable
from thinkpool_pipeline.outward.keys import KeyRing, KeyRotation


def ring(time, keys: str = "abc") -> KeyRing:
    return KeyRing(tuple(keys), lambda: time.now)


def used(rotation: KeyRotation, error: OutwardError) -> tuple[str, type[OutwardError] | None]:
    """The key a rotation goes on with after an error, or what it raises instead."""
    try:
        rotation.move_on(error)
    except OutwardError as raised:
        return rotation.secret, type(raised)
    return rotation.secret, None


def test_keys_are_used_in_turn(time):
    keys = ring(time)
    assert "".join(keys.begin().secret for _ in range(7)) == "abcabca"


def test_a_repeated_key_is_one(time):
    assert ring(time, "abab").total == 2


@pytest.mark.parametrize("key", ["", " ", "xyz\n", "xyz\r\nx: y", "schlüssel", "xyz\0", " xyz", "xyz\t"])
def test_what_no_header_can_hold_is_no_key_and_is_not_repeated(key, time):
    with pytest.raises(ValueError, match="key") as wrong:
        KeyRing(("good", key), lambda: time.now)
    assert "xyz" not in str(wrong.value)
    assert "schl" not in str(wrong.value)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_rests_for_an_hour(time, status):
    keys = ring(time)
    assert used(keys.begin(), Refused(status)) == ("b", None)
    assert repr(keys) == "<KeyRing [1 of 3 at rest]>"
    assert "".join(keys.begin().secret for _ in range(4)) == "cbcb"
    time.now += 3599
    assert keys.resting == 1
    time.now += 1
    assert keys.resting == 0
    assert keys.begin().secret == "a"


@pytest.mark.parametrize(("retry_after_seconds", "rest_seconds"), [(None, 60), (7, 7), (1800, 1800), (0, 0)])
def test_a_limited_key_rests_as_long_as_the_service_says(time, retry_after_seconds, rest_seconds):
    keys = ring(time)
    assert used(keys.begin(), RateLimited(retry_after_seconds=retry_after_seconds)) == ("b", None)
    assert keys.resting == (1 if rest_seconds else 0)
    time.now += rest_seconds
    assert keys.resting == 0


def test_a_shorter_rest_does_not_end_a_longer_one(time):
    keys = ring(time, "ab")
    first, second, third = keys.begin(), keys.begin(), keys.begin()
    assert (first.secret, third.secret) == ("a", "a")
    assert used(first, Refused(402)) == ("b", None)
    assert used(third, RateLimited(retry_after_seconds=5)) == ("b", None)
    assert used(second, RateLimited(retry_after_seconds=9)) == ("b", RateLimited)
    time.now += 9
    assert keys.resting == 1
    assert [keys.begin().secret for _ in range(2)] == ["b", "b"]


def test_a_try_meets_each_key_once_even_where_none_rests(time):
    rotation = ring(time).begin()
    limited = RateLimited(retry_after_seconds=0)
    assert [used(rotation, limited) for _ in range(3)] == [("b", None), ("c", None), ("c", RateLimited)]


def test_when_all_rest_the_soonest_says_when_to_come_back(time):
    keys = ring(time)
    rotation = keys.begin()
    rotation.move_on(RateLimited(retry_after_seconds=30))
    rotation.move_on(Refused(402))
    with pytest.raises(RateLimited) as limited:
        rotation.move_on(RateLimited(retry_after_seconds=10))
    assert limited.value.retry_after_seconds == 10
    time.now += 4
    with pytest.raises(RateLimited) as limited:
        keys.begin()
    assert limited.value.retry_after_seconds == 6


def test_when_all_are_refused_none_is_left_and_the_last_refusal_is_the_cause(time):
    keys = ring(time)
    rotation = keys.begin()
    rotation.move_on(Refused(401))
    rotation.move_on(Refused(402))
    with pytest.raises(KeysExhausted) as exhausted:
        rotation.move_on(Refused(403))
    assert isinstance(exhausted.value.__cause__, Refused)
    assert (exhausted.value.retry_after_seconds, exhausted.value.max_retries, keys.resting) == (3600, 0, 3)
    with pytest.raises(KeysExhausted):
        keys.begin()
    time.now += 3600
    assert keys.begin().secret == "a"


@pytest.mark.parametrize("error", [Refused(400), Refused(404), Unavailable("reset")])
def test_an_error_that_is_not_about_the_key_is_the_call_s(time, error):
    keys = ring(time)
    assert used(keys.begin(), error) == ("a", type(error))
    assert keys.resting == 0


@pytest.mark.parametrize("error", [Refused(401), Refused(402), Refused(403), RateLimited()])
def test_a_sole_key_never_rests(time, error):
    keys = ring(time, "a")
    assert used(keys.begin(), error) == ("a", type(error))
    assert keys.resting == 0


def test_a_request_that_every_key_is_forbidden_does_not_use_the_keys_up(time):
    """A firewall in front of a service forbids some requests, whoever asks: once is no sign of a bad key."""
    keys = ring(time)
    for _ in range(3):
        keys.begin().succeed()
    rotation = keys.begin()
    assert [used(rotation, Refused(403)) for _ in range(3)] == [("b", None), ("c", None), ("c", Refused)]
    assert keys.resting == 0


def test_keys_that_are_forbidden_again_without_having_worked_in_between_are_used_up(time):
    keys = ring(time, "ab")
    for _ in range(2):
        keys.begin().succeed()
    rotation = keys.begin()
    assert [used(rotation, Refused(403)) for _ in range(2)] == [("b", None), ("b", Refused)]
    rotation = keys.begin()
    assert [used(rotation, Refused(403)) for _ in range(2)] == [("b", None), ("b", KeysExhausted)]


def test_a_key_that_never_worked_gets_no_other_chance(time):
    keys = ring(time, "ab")
    keys.begin().succeed()
    rotation = keys.begin()
    assert rotation.secret == "b"
    assert [used(rotation, Refused(403)) for _ in range(2)] == [("a", None), ("a", Refused)]
    assert keys.resting == 1
    assert [keys.begin().secret for _ in range(2)] == ["a", "a"]


def test_being_out_of_credit_is_never_the_request_s_fault(time):
    keys = ring(time, "ab")
    for _ in range(2):
        keys.begin().succeed()
    rotation = keys.begin()
    assert [used(rotation, Refused(402)), used(rotation, Refused(403))] == [("b", None), ("b", KeysExhausted)]
