"""What can go wrong on the way out; callers map it to errors of their own where it enters.

OutwardError            `kind` is a closed set, for metrics; messages hold no body, key, URL or query of anyone
├── DeadlinePassed      the call's own deadline, or silence for longer than it allows
├── RateLimited         429
├── Unavailable         no connection, a broken one, or 408, 409, 425, 5xx
├── Refused             any other status that is no success: asking again changes nothing
├── KeysExhausted       every key was refused and rests for long
├── BreakerOpen         the service failed so often that it is left alone for now
├── AddressForbidden    the address does not lie on the public web: nothing was sent
├── BodyTooLarge        more bytes than the caller takes
└── Unreadable          raised by the caller's reader: the bytes came and make no sense
"""

from typing import ClassVar, Literal, TypeAlias

ErrorKind: TypeAlias = Literal[
    "deadline",
    "rate_limited",
    "unavailable",
    "refused",
    "keys_exhausted",
    "breaker_open",
    "forbidden",
    "body_too_large",
    "unreadable",
]
ForbiddenReason: TypeAlias = Literal[
    "it is no web address",
    "only http and https are allowed",
    "its port is not a customary one",
    "it holds a user name",
    "its host is written in an uncustomary way",
    "its host is a local name",
    "its host is not on the public internet",
]
"""Why an address is forbidden, as the end of a sentence."""


class OutwardError(Exception):
    """An outward call failed."""

    kind: ClassVar[ErrorKind] = "unavailable"
    is_outage: ClassVar[bool] = False
    """Whether it speaks against the service's health, and so for opening the breaker."""
    is_sign_of_life: ClassVar[bool] = True
    """Where it is no outage: whether it shows that the service answers."""

    def __init__(self, message: str, *, max_retries: int = 0, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.max_retries = max_retries
        """How often such a failure is worth another try."""
        self.retry_after_seconds = retry_after_seconds
        """When the service wants to be asked again; None where it did not say."""


class DeadlinePassed(OutwardError):
    """The call took longer than it may, or nothing was heard for too long."""

    kind = "deadline"
    is_outage = True

    def __init__(self, *, seconds: float, is_idle: bool) -> None:
        waited = "said nothing for" if is_idle else "was not done within"
        super().__init__(f"The service {waited} {seconds:g} s.", max_retries=1 if is_idle else 0)
        self.is_idle = is_idle
        """Whether it was silence, which is worth one more try; the whole deadline is not."""


class RateLimited(OutwardError):
    """The service refuses more requests for now."""

    kind = "rate_limited"

    def __init__(self, *, retry_after_seconds: float | None = None) -> None:
        super().__init__("The service limits its rate (429).", max_retries=3, retry_after_seconds=retry_after_seconds)


class Unavailable(OutwardError):
    """The service cannot be reached, broke off, or says that it fails."""

    kind = "unavailable"
    is_outage = True

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(
            f"The service is unavailable ({reason}).", max_retries=3, retry_after_seconds=retry_after_seconds
        )
        self.reason = reason
        """A status, or the class of the connection's error."""


class Refused(OutwardError):
    """The service does not take this request."""

    kind = "refused"

    def __init__(self, status: int) -> None:
        super().__init__(f"The service refused the request ({status}).")
        self.status = status


class KeysExhausted(OutwardError):
    """No key is left: the service refused each, so that all rest for long."""

    kind = "keys_exhausted"

    def __init__(self, *, retry_after_seconds: float | None = None) -> None:
        super().__init__("The service accepts none of the keys for now.", retry_after_seconds=retry_after_seconds)


class BreakerOpen(OutwardError):
    """The service failed too often and is not asked for now."""

    kind = "breaker_open"

    def __init__(self, *, retry_after_seconds: float) -> None:
        super().__init__(
            "The service keeps failing and is left alone for now.",
            max_retries=3,
            retry_after_seconds=retry_after_seconds,
        )


class AddressForbidden(OutwardError):
    """The address does not lie on the public web; nothing was sent to it."""

    kind = "forbidden"
    is_sign_of_life = False

    def __init__(self, reason: ForbiddenReason) -> None:
        super().__init__(f"The address is not allowed: {reason}.")
        self.reason: ForbiddenReason = reason


class BodyTooLarge(OutwardError):
    """The reply is larger than the caller takes."""

    kind = "body_too_large"

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"The reply is larger than {limit_bytes} bytes.")


class Unreadable(OutwardError):
    """The reply came and cannot be made sense of."""

    kind = "unreadable"

    def __init__(self, reason: str, *, is_worth_retrying: bool = True) -> None:
        super().__init__(reason, max_retries=2 if is_worth_retrying else 0)
