"""What the server refuses, beside the library's errors: values for `error_responses` to turn into answers."""

from thinkpool_pipeline.errors import AdmissionError, PipelineError


class IdempotencyConflict(PipelineError):
    """The Idempotency-Key was used before, with another request."""

    code = "idempotency-conflict"


class StoreUnavailable(AdmissionError):
    """The server cannot reach its database or write to its disk; try again in a moment."""

    code = "store-unavailable"


class ReplicaLost(StoreUnavailable):
    """The other replicas took this one for dead: it writes nothing any more, and its runs are theirs."""


class RunSuspended(PipelineError):
    """The server is going down: the run stops between two steps and is taken up again later."""

    code = "suspended"


class InvalidCursor(PipelineError, ValueError):
    """The cursor is not one that this server gave."""

    code = "invalid-cursor"


class InvalidEventId(PipelineError):
    """The event id is not a number that this run's log has."""

    code = "invalid-event-id"


class InvalidHeader(PipelineError):
    """A header's value cannot be used."""

    code = "invalid-header"


class ReportNotReady(PipelineError):
    """The run is not finished: its report is not ready."""

    code = "report-not-ready"


class NoReport(PipelineError):
    """The run ended without a report."""

    code = "no-report"


class InvalidField(PipelineError):
    """A field of the request cannot be used."""

    code = "invalid-request"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        """Its path in the body, such as `budget.max_turns`; made by the server, or checked to be a plain name."""


class InputTooLarge(InvalidField):
    """What came with the question is too large."""

    code = "input-too-large"


class UnsupportedField(InvalidField):
    """A field of the request means something that this server does not do."""

    code = "unsupported-field"


class UnknownModel(InvalidField):
    """There is no model of that name here."""

    code = "model-not-found"


class UnknownPreviousResponse(InvalidField):
    """There is no response that this one could build on."""

    code = "previous-response-not-found"


class NotInBackground(PipelineError):
    """Only a response in the background can be cancelled: one in the foreground ends when its client leaves."""

    code = "not-in-background"
