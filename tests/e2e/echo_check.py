"""A check of schemathesis: a refusal repeats nothing of what it refuses.

What the description says itself, such as a field's name or the values it may have, is no echo. A key that the client
made up may be named where errors name the field that is wrong, and only there, if it is a plain name; in the place of
any other, there is a question mark.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

MIN_CHARACTERS = 4
"""Shorter texts are found anywhere."""

DESCRIBED = Path(os.environ["DESCRIBED"]).read_text()

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMED_IN_WORDS = re.compile(r"(^|; )[A-Za-z0-9_.?-]+: |^The field [A-Za-z0-9_-]+ is ")
_NAMING = ("field", "param")
_WORDS = ("detail", "message")


def texts(value: Any) -> Iterator[str]:
    """The texts and numbers that the value is made of, besides keys."""
    match value:
        case Mapping():
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


def keys(value: Any) -> Iterator[str]:
    """The keys that the value has, however deep."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield str(key)
                yield from keys(item)
        case list():
            for item in value:
                yield from keys(item)
        case _:
            pass


def without_names(told: Any) -> Any:
    """An error without the names of fields, where it has them."""
    match told:
        case dict():
            return {
                key: _NAMED_IN_WORDS.sub(r"\1", item)
                if key in _WORDS and isinstance(item, str)
                else without_names(item)
                for key, item in told.items()
                if key not in _NAMING
            }
        case list():
            return [without_names(item) for item in told]
        case _:
            return told


def repeated(sent: Iterator[str], told: str) -> Iterator[str]:
    """What was sent and is told, as it is or as JSON has it."""
    for text in sent:
        if len(text) >= MIN_CHARACTERS and text not in DESCRIBED:
            yield from (form for form in (text, json.dumps(text)[1:-1]) if form in told)


def body_without_names(body: str) -> str:
    """The same of a body, which need not be JSON."""
    try:
        return json.dumps(without_names(json.loads(body)), ensure_ascii=False)
    except ValueError:
        return body


@schemathesis.check
def nothing_is_repeated(_ctx: CheckContext, response: Response, case: Case) -> None:
    if response.status_code < 400:
        return
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    told = response.text + json.dumps(headers)
    shown = [*repeated(texts([case.body, case.path_parameters, case.query, case.headers, case.cookies]), told)]
    assert not shown, f"The refusal repeats {shown[0]!r}"
    made_up = [*keys([case.body, case.query])]
    shown = [*repeated((key for key in made_up if not _PLAIN_NAME.fullmatch(key)), told)]
    shown += repeated(iter(made_up), body_without_names(response.text) + json.dumps(headers))
    assert not shown, f"The refusal repeats the key {shown[0]!r}"
