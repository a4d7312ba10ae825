"""What fails at E2B, as errors of the outward layer; and those as what a model is told.

SandboxGone     the sandbox is not there any more, nor is what was in it
Interrupted     the connection broke while a program ran: it may have run, and is not to be run again
NotKilled       a sandbox could not be killed
CalledOff       a sandbox is no longer wanted
"""

from thinkpool_pipeline.errors import ToolError, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import DeadlinePassed, OutwardError


class SandboxGone(OutwardError):
    """E2B has no such sandbox any more: it was killed, or its time was up."""

    def __init__(self) -> None:
        super().__init__("The sandbox is gone, and with it the names and files in it.")


class Interrupted(OutwardError):
    """The connection to the sandbox broke."""

    is_outage = True

    def __init__(self) -> None:
        super().__init__("The connection to the sandbox broke; what was asked for may have been done in part.")


class NotKilled(OutwardError):
    """The sandbox could not be killed. One that never can be must not close the way to the others."""

    is_sign_of_life = False

    def __init__(self) -> None:
        super().__init__("The sandbox could not be killed.")


class CalledOff(OutwardError):
    """The run is over, and its sandbox is no longer wanted."""

    is_sign_of_life = False

    def __init__(self) -> None:
        super().__init__("The run is over.")


def opening_error(error: OutwardError) -> ToolError:
    """Why there is no sandbox, for the model: in the outward layer's words, which hold no key and no body."""
    kind = ToolTimeout if isinstance(error, DeadlinePassed) else ToolUnavailable
    return kind(f"There is no code sandbox now: {error}")


def use_error(error: OutwardError) -> ToolUnavailable:
    """Why a sandbox did not do what it was asked."""
    return ToolUnavailable(f"The code sandbox failed: {error}")
