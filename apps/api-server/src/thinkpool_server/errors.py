"""What goes wrong on purpose in the server, beyond the library's tree (`thinkpool_pipeline.errors`).

PipelineError
├── IdempotencyConflict           409
├── InvalidCursor                 400
├── RunSuspended                  never seen by a client: the run goes on elsewhere or after the restart
└── EventLogError
    └── EventLogUnavailable       503, with Retry-After
"""

from thinkpool_pipeline.errors import EventLogError, PipelineError


class IdempotencyConflict(PipelineError):
    """Another request was made under this Idempotency-Key."""

    code = "idempotency-conflict"


class InvalidCursor(PipelineError):
    """The cursor is not one that this server gave out."""

    code = "invalid-cursor"


class RunSuspended(PipelineError):
    """The server is going down: the run stops between two steps and is taken up again later."""

    code = "suspended"


class EventLogUnavailable(EventLogError):
    """The database does not take writes at the moment; try again soon."""

    code = "event-log-unavailable"
