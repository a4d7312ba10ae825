"""What goes wrong between us and a server, in the outward layer's terms. No message holds a word of the server's.

OutwardError
├── SessionLost       the session ended while a call was out: whether the call was made is not known
├── NotTaken          the server did not take the call, and may be asked again
└── NotConnected      there is no session now: nothing was sent
"""

import re
from dataclasses import dataclass

from thinkpool_pipeline.outward import OutwardError

BROKEN = -32_097
"""The JSON-RPC error we put in the place of an answer that never came, with the reason as its message."""
NOT_TAKEN = -32_095
"""The same of a request that the server surely did not take."""
TOO_LONG = -32_096
"""The JSON-RPC error we put in the place of an answer that is larger than we take; """


_PLAIN_REASON = re.compile(r"[A-Za-z0-9 ]{1,60}")


def plain_reason(text: str) -> str:
    """The reason, if it can be one of ours: a server may use our number, but not for words of its own choice."""
    return text if _PLAIN_REASON.fullmatch(text) else "it broke off"


class SessionLost(OutwardError):
    """The session ended under a call: whether the call was made is not known."""

    kind = "unavailable"
    is_outage = True

    def __init__(self, reason: str, *, is_repeatable: bool = False) -> None:
        super().__init__(f"The connection was lost ({reason}).", max_retries=1 if is_repeatable else 0)
        self.reason = reason
        """In our own words, for status and logs."""


class NotTaken(OutwardError):
    """The server did not take the call: asking again does nothing twice."""

    kind = "unavailable"
    is_outage = True

    def __init__(self, reason: str) -> None:
        super().__init__(f"The server did not take the call ({reason}).", max_retries=2)
        self.reason = reason
        """In our own words."""


class NotConnected(OutwardError):
    """There is no session now."""

    kind = "unavailable"
    is_outage = True

    def __init__(self, reason: str) -> None:
        super().__init__(f"There is no connection now ({reason or 'it is being made'}).")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server answered a call with an error of the protocol: it is there, and will not do that."""

    code: int
    text: str
    """The server's words, in one line."""
