"""What a client may ask to have included in a response."""

from collections.abc import Iterable

from thinkpool_server.errors import UnsupportedField

HAD = (
    "code_interpreter_call.outputs",
    "file_search_call.results",
    "web_search_call.action.sources",
)
_NEVER_THERE = (
    "computer_call_output.output.image_url",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.results",
)
"""Asking for these is allowed: there is nothing of the kind to include."""


def included(asked: Iterable[str], field: str = "include") -> frozenset[str]:
    """What of it is to be included.

    Raises:
        UnsupportedField: something is asked for that no response here has.

    """
    wanted = frozenset(asked)
    if not wanted.issubset((*HAD, *_NEVER_THERE)):
        raise UnsupportedField(field, f"What may be included is: {', '.join(HAD)}.")
    return wanted.intersection(HAD)
