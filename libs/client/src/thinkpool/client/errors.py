"""What can go wrong.

ThinkPoolError
├── ConnectionFailed            nobody answered, or the connection kept breaking, for as long as the policy allows
├── UnexpectedAnswer            what answered is not a ThinkPool server
├── Refused                     the server, or a proxy, answered with an error
│   ├── InvalidRequest          400, 413, 422 and other faults of the request: `errors` names the fields
│   ├── Unauthorized            401, 403
│   ├── NotFound                404
│   ├── Conflict                409
│   ├── Expired                 410
│   ├── RateLimited             429, for longer than the policy allows: `retry_after`
│   └── ServerFailed            5xx, likewise
└── RunEnded                    the run ended without its result: `partial_report`
    ├── RunFailed               `code`, `message`
    └── RunCancelled            `by`
"""

from dataclasses import dataclass

from thinkpool.client.values import Usage


class ThinkPoolError(Exception):
    """Anything that the client raises on purpose, besides wrong arguments."""


class ConnectionFailed(ThinkPoolError):
    """No connection, or none that lasts. A run that was begun goes on."""


class UnexpectedAnswer(ThinkPoolError):
    """What answers there is not a ThinkPool server, or something between changes its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """What is wrong with one field of the request."""

    field: str
    message: str


class Refused(ThinkPoolError):
    """The request was answered with an error."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        """A sentence for people."""
        self.status = status
        self.code = code
        """As docs/http-api.md lists them; empty when it was not ThinkPool that answered."""
        self.errors = errors
        self.retry_after = retry_after
        """Seconds, where the answer said so."""

    def __str__(self) -> str:
        return f"{self.detail} ({self.status}{' ' if self.code else ''}{self.code})"


class InvalidRequest(Refused):
    """The request cannot be met as it is."""


class Unauthorized(Refused):
    """A valid key is needed."""


class NotFound(Refused):
    """There is no such run, or it is somebody else's."""


class Conflict(Refused):
    """The request contradicts what there is, such as an idempotency key that was used for another question."""


class Expired(Refused):
    """The run's events are past their retention."""


class RateLimited(Refused):
    """Too much is asked at the moment."""


class ServerFailed(Refused):
    """The server cannot answer at the moment."""


class RunEnded(ThinkPoolError):
    """The run ended without its result."""

    def __init__(self, message: str, *, run_id: str, partial_report: str, usage: Usage) -> None:
        super().__init__(message)
        self.message = message
        self.run_id = run_id
        self.partial_report = partial_report
        """The report as far as it was written, in Markdown."""
        self.usage = usage


class RunFailed(RunEnded):
    """The run could not be completed."""

    def __init__(self, message: str, *, code: str, run_id: str, partial_report: str, usage: Usage) -> None:
        super().__init__(message, run_id=run_id, partial_report=partial_report, usage=usage)
        self.code = code
        """As docs/http-api.md lists them."""

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class RunCancelled(RunEnded):
    """Somebody stopped the run."""

    def __init__(self, *, by: str, run_id: str, partial_report: str, usage: Usage) -> None:
        super().__init__(f"The run was cancelled ({by}).", run_id=run_id, partial_report=partial_report, usage=usage)
        self.by = by
        """`client`, `disconnect` or `operator`."""
