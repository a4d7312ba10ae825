"""Everything that can go wrong on purpose, in one tree; each branch has its fate.

PipelineError                     stable `code`; the docstring is the default message
├── ConfigurationError            the process does not start
├── AdmissionError                this request is refused, with Retry-After
│   ├── QueueFull                 429
│   ├── TooManyRuns               429
│   └── ShuttingDown              503
├── RunError                      this run ends with one `run.failed`; its neighbours never notice
│   ├── RunSuperseded             another owner has the run: this one stops and writes nothing
│   ├── BudgetExceeded            raised inside the loop, which then writes the report
│   └── ModelError
│       ├── ModelTimeout
│       ├── ModelRateLimited
│       ├── ModelUnavailable
│       ├── ModelRefused          the endpoint will not take this request: key, model name, parameters
│       ├── ModelContextExceeded
│       ├── ModelReplyInvalid
│       └── AnswerInvalid         the answer does not fit the JSON form that was asked for
├── ToolError                     the model is told and goes on
│   ├── UnknownTool
│   ├── InvalidArguments
│   ├── AddressRefused            an address that nobody gave the run, or that is not public
│   ├── LeakRefused               the arguments would carry private text out of the house
│   ├── ToolTimeout
│   └── ToolUnavailable
└── EventLogError
    ├── UnknownRun                404
    └── EventsExpired             410
"""

from typing import ClassVar


class PipelineError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    """Stable, kebab-case, for programs."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))

    @property
    def message(self) -> str:
        """One sentence for people: no secrets, no input."""
        return str(self)


class ConfigurationError(PipelineError):
    """A setting is wrong."""

    code = "configuration"


class AdmissionError(PipelineError):
    """The request is refused for now."""

    code = "refused"

    def __init__(self, message: str = "", *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class QueueFull(AdmissionError):
    """The queue is full; try again later."""

    code = "queue-full"


class TooManyRuns(AdmissionError):
    """The tenant has as many runs as it may have; try again when one has ended."""

    code = "too-many-runs"


class ShuttingDown(AdmissionError):
    """The server is shutting down; try again in a moment."""

    code = "shutting-down"


class RunError(PipelineError):
    """The run cannot go on."""

    code = "run-failed"


class RunSuperseded(RunError):
    """Another owner has taken the run over."""

    code = "superseded"


class BudgetExceeded(RunError):
    """The run has used up its budget."""

    code = "budget-exceeded"

    def __init__(self, *, kind: str, used: float, limit: float) -> None:
        super().__init__(f"The run has used up its budget: {kind} {used:g} of {limit:g}.")
        self.kind = kind
        self.used = used
        self.limit = limit


class ModelError(RunError):
    """The model failed."""

    code = "model-error"


class ModelTimeout(ModelError):
    """The model did not answer in time."""

    code = "model-timeout"


class ModelRateLimited(ModelError):
    """The model's endpoint refuses more requests for now."""

    code = "model-rate-limited"

    def __init__(self, message: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ModelUnavailable(ModelError):
    """The model's endpoint cannot be reached or fails."""

    code = "model-unavailable"


class ModelRefused(ModelError):
    """The model's endpoint does not take the request: check the key, the model's name and the parameters."""

    code = "model-refused"


class ModelContextExceeded(ModelError):
    """The conversation no longer fits the model's window."""

    code = "model-context-exceeded"


class ModelReplyInvalid(ModelError):
    """The model's reply could not be read."""

    code = "model-reply-invalid"


class AnswerInvalid(ModelError):
    """The model's answer does not fit the JSON form that was asked for, nor does its repair."""

    code = "answer-invalid"


class ToolError(PipelineError):
    """The tool failed."""

    code = "tool-error"


class UnknownTool(ToolError):
    """There is no tool of that name."""

    code = "unknown-tool"


class InvalidArguments(ToolError):
    """The arguments do not fit the tool."""

    code = "invalid-arguments"


class AddressRefused(ToolError):
    """The address may not be read."""

    code = "address-refused"


class LeakRefused(ToolError):
    """The arguments hold private text, which may not leave the deployment."""

    code = "leak-refused"


class ToolTimeout(ToolError):
    """The tool did not answer in time."""

    code = "tool-timeout"


class ToolUnavailable(ToolError):
    """The tool's service cannot be reached or fails."""

    code = "tool-unavailable"


class EventLogError(PipelineError):
    """The run's events cannot be read."""

    code = "event-log"


class UnknownRun(EventLogError):
    """There is no such run."""

    code = "not-found"


class EventsExpired(EventLogError):
    """The run's events are past their retention."""

    code = "expired"
