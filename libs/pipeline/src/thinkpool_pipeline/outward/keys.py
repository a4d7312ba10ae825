"""A provider's keys, used in turn; one that is used up, or asked too often, rests while the others work on.

A 403 may be about the key or about the request. So where no other key overcomes it, the keys that it met and that had
worked before are not rested yet: one request that the service dislikes must not switch the service off for all.
"""

from collections.abc import Sequence
from hashlib import blake2b

from thinkpool_pipeline.outward.failures import KeysExhausted, OutwardError, RateLimited, Refused
from thinkpool_pipeline.protocols import Clock

REFUSED_REST_SECONDS = 3600.0
"""After 401, 402 and 403; also the longest rest that a service may ask for."""
LIMITED_REST_SECONDS = 60.0
"""After a 429 that does not say for how long."""
_KEY_REFUSALS = frozenset({401, 402, 403})
_AWAKE = float("-inf")


def key_name(secret: str) -> str:
    """What a key is known by where it must not be known: 16 hexadecimal digits that lead to it for nobody."""
    return blake2b(secret.encode(), digest_size=8, person=b"thinkpool api").hexdigest()


class _Key:
    """One key and how it stands."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.name = key_name(secret)
        self.rests_until = _AWAKE
        self.is_limited = False
        """Whether its rest, if it has one, is for its rate."""
        self.has_worked = False
        """Since it was last given another chance."""


class KeyRing:
    """All keys of a provider."""

    def __init__(self, keys: Sequence[str], clock: Clock) -> None:
        """Takes the keys in the order of their first use; a repeated one counts once.

        Raises:
            ValueError: a key is empty, or holds what no header can.

        """
        if not all(key and key.isascii() and key.isprintable() and key.strip() == key for key in keys):
            raise ValueError("A key is empty or holds what a header cannot hold.")
        self._keys = [_Key(key) for key in dict.fromkeys(keys)]
        self._clock = clock

    def __repr__(self) -> str:
        return f"<KeyRing [{self.resting} of {self.total} at rest]>"

    @property
    def total(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    @property
    def resting(self) -> int:
        """How many of them are not used for now."""
        now = self._clock()
        return sum(now < key.rests_until for key in self._keys)

    def begin(self) -> "KeyRotation":
        """The keys as one try of a call goes through them.

        Raises:
            RateLimited: all rest, some of them only for their rate.
            KeysExhausted: all rest.

        """
        return KeyRotation(self)

    def take(self, tried: Sequence[_Key]) -> _Key:
        """The key unused for longest of those that neither rest nor were tried; raises as `begin` does."""
        now = self._clock()
        for key in self._keys:
            if key.rests_until <= now and key not in tried:
                self._keys.remove(key)
                self._keys.append(key)
                return key
        soonest_seconds = max(0.0, min(key.rests_until for key in self._keys) - now)
        if any(key.is_limited for key in self._keys):
            raise RateLimited(retry_after_seconds=soonest_seconds)
        raise KeysExhausted(retry_after_seconds=soonest_seconds)

    def rest(self, key: _Key, seconds: float, *, is_limited: bool) -> None:
        """Leaves a key alone for a while; a longer rest stays."""
        rests_until = self._clock() + seconds
        if rests_until > key.rests_until:
            key.rests_until, key.is_limited = rests_until, is_limited


class KeyRotation:
    """One try of a call: the keys it goes through, each at most once."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._key = ring.take(())
        self._tried = [self._key]
        self._is_all_forbidden = True

    @property
    def secret(self) -> str:
        """The key to send now."""
        return self._key.secret

    @property
    def name(self) -> str:
        """What that key is known by."""
        return self._key.name

    def succeed(self) -> None:
        """Notes that the key works."""
        self._key.has_worked = True

    def move_on(self, error: OutwardError) -> None:
        """Lets the key rest, if that is what the error asks for, and goes on to the next.

        Raises:
            OutwardError: what the call fails with, as the error is not about the key or no other key is left.

        """
        if self._ring.total == 1 or not self._is_about_key(error):
            raise error
        self._is_all_forbidden &= isinstance(error, Refused) and error.status == 403
        self._rest(error)
        try:
            self._key = self._ring.take(self._tried)
        except OutwardError as none_left:
            if self._is_all_forbidden and self._wake_those_that_worked():
                raise error from None
            raise none_left from error
        self._tried.append(self._key)

    @staticmethod
    def _is_about_key(error: OutwardError) -> bool:
        return isinstance(error, RateLimited) or (isinstance(error, Refused) and error.status in _KEY_REFUSALS)

    def _rest(self, error: OutwardError) -> None:
        is_limited = isinstance(error, RateLimited)
        seconds = error.retry_after_seconds
        if seconds is None:
            seconds = LIMITED_REST_SECONDS if is_limited else REFUSED_REST_SECONDS
        self._ring.rest(self._key, seconds, is_limited=is_limited)

    def _wake_those_that_worked(self) -> bool:
        woken = [key for key in self._tried if key.has_worked]
        for key in woken:
            key.rests_until, key.has_worked = _AWAKE, False
        return bool(woken)
