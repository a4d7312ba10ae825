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

    Of a program (`is_program`) nothing is tried again that may have begun.
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
        if isinstance(error, SandboxUnreachableException):
            return Interrupted() if self._is_program else Unavailable("unreachable")
        if isinstance(error, TimeoutException):
            return _of_timeout(error)
        if isinstance(error, SandboxException):
            return _of_status(error)
        if self._is_program:
            return Interrupted()
        if isinstance(error, _TRANSPORT_ERRORS):
            return Unavailable(type(error.__cause__ or error).__name__)
        return Unreadable("The service's reply makes no sense.")


def _of_timeout(error: TimeoutException) -> OutwardError:
    is_cut_off = isinstance(error.__cause__, httpx.HTTPError)  # and a look at the sandbox has shown that it is gone
    if is_cut_off or is_sandbox_not_found_message(str(error)):
        return SandboxGone()
    return Unavailable("no answer in time")


def _of_status(error: SandboxException) -> OutwardError:
    found = _STATUS.match(str(error))
    status = error.status_code or (int(found[1]) if found else 0)
    if status == 429:
        return RateLimited(retry_after_seconds=RATE_REST_SECONDS)
    if status in (408, 409, 425) or status >= 500:
        return Unavailable(f"status {status}")
    return Refused(status) if status else Unreadable("The service's reply makes no sense.")
