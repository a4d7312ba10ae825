"""What E2B's SDK raises, as errors of the outward layer.

The SDK uses one class for several things, keeps some statuses at the beginning of a message only, leaves its parsers'
own errors as they are when a reply has another shape, and raises bare `Exception`s.
"""

import re
from collections.abc import Callable
from types import TracebackType

import httpx
from connectrpc.errors import ConnectError
from e2b import (
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotEnoughSpaceException,
    NotFoundException,
    RateLimitException,
    SandboxException,
    TimeoutException,
)
from e2b.exceptions import (
    SandboxNotRunningException,
    SandboxUnreachableException,
    ServiceBusyException,
    is_sandbox_not_found_message,
)

from thinkpool_pipeline.outward import OutwardError, RateLimited, Refused, Unavailable, Unreadable
from thinkpool_pipeline.sandbox.e2b.failures import Interrupted, SandboxGone

RATE_REST_SECONDS = 2.0
"""After a 429: the SDK does not pass `Retry-After` on."""

_STATUS = re.compile(r"\A(\d{3})\b")
_TRANSIENT = frozenset({408, 409, 425})
_TRANSPORT_ERRORS = (httpx.HTTPError, ConnectError, OSError)
_PARSER_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_SDK_ERRORS = (SandboxException, AuthenticationException, ServiceBusyException, *_TRANSPORT_ERRORS, *_PARSER_ERRORS)

_BY_CLASS: tuple[tuple[type[Exception], Callable[[], OutwardError]], ...] = (
    (SandboxNotRunningException, SandboxGone),
    (NotFoundException, SandboxGone),
    (RateLimitException, lambda: RateLimited(retry_after_seconds=RATE_REST_SECONDS)),
    (AuthenticationException, lambda: Refused(401)),
    (ServiceBusyException, lambda: Unavailable("status 503")),
    (NotEnoughSpaceException, lambda: Refused(507)),
    (InvalidArgumentException, lambda: Refused(400)),
)
"""The classes that mean one thing; a file that is not found is dealt with where files are read."""


class Translation:
    """Turns what the SDK raises in its block into errors of the outward layer.

    A program (`is_program`) is tried again only where the service has said that it did not take it: 429 and 503.
    """

    def __init__(self, *, is_program: bool) -> None:
        self._is_program = is_program

    def __enter__(self) -> None:
        """Begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, CommandExitException):
            return
        if isinstance(error, _SDK_ERRORS) or kind is Exception:
            # Not chained: the words may hold the key's owner, and what the service said.
            raise self._translated(error) from None

    def _translated(self, error: BaseException) -> OutwardError:
        for kind, make in _BY_CLASS:
            if isinstance(error, kind):
                return make()
        if isinstance(error, TimeoutException) and not isinstance(error, SandboxUnreachableException):
            is_cut_off = isinstance(error.__cause__, httpx.HTTPError)  # and the SDK has looked and found no sandbox
            if is_cut_off or is_sandbox_not_found_message(str(error)):
                return SandboxGone()
        status = _status(error)
        if status == 429:
            return RateLimited(retry_after_seconds=RATE_REST_SECONDS)
        if 400 <= status < 500 and status not in _TRANSIENT:
            return Refused(status)
        if self._is_program and status != 503:
            return Interrupted()
        if status:
            return Unavailable(f"status {status}")
        if isinstance(error, (*_TRANSPORT_ERRORS, TimeoutException)):
            return Unavailable(type(error.__cause__ or error).__name__)
        return Unreadable("The service's reply makes no sense.")


def _status(error: BaseException) -> int:
    """What the service answered with; 0 where the SDK does not say."""
    if not isinstance(error, SandboxException):
        return 0
    found = _STATUS.match(str(error))
    return error.status_code or (int(found[1]) if found else 0)
