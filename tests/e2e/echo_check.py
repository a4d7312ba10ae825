"""A check of schemathesis: a refusal repeats nothing of what it refuses.

What the description says itself, such as a field's name or the values it may have, is no echo.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

MIN_CHARACTERS = 4
"""Shorter texts are found anywhere."""

DESCRIBED = Path(os.environ["DESCRIBED"]).read_text()


def texts(value: Any) -> Iterator[str]:
    """The texts and numbers that the value is made of."""
    match value:
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)
        case str():
            yield value
        case int() | float() if not isinstance(value, bool):
            yield str(value)
        case _:
            pass


@schemathesis.check
def nothing_is_repeated(_ctx: CheckContext, response: Response, case: Case) -> None:
    if response.status_code < 400:
        return
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    told = response.text + json.dumps(headers)
    for sent in texts([case.body, case.path_parameters, case.query, case.headers, case.cookies]):
        if len(sent) >= MIN_CHARACTERS and sent not in DESCRIBED:
            shown = [form for form in (sent, json.dumps(sent)[1:-1]) if form in told]
            assert not shown, f"The refusal repeats {shown[0]!r}"
