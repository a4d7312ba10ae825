"""Keeps private text from leaving the house in a tool's arguments, whatever a page told the model to do.

Private are the operator's secrets, the system's instructions, the local documents and the files that came with the
question. Refused is what carries a secret, a word of theirs that looks like a key, or a long run of their words; the
user's own words and what the web has said already may go. Spelled backwards, spaced out or in base64, hex or percent
signs, it is still the same. Plain names and figures pass: research on documents lives from looking those up.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from pydantic import JsonValue

from thinkpool_pipeline.values import JsonObject, Passage

MIN_KEY_CHARACTERS = 16
"""Shorter words are names, as `Qwen3-235B-A22B` is, rather than keys."""
RUN_WORDS = 12
"""So many words in a row, copied, are a text and no longer a question about it."""
_WORD = re.compile(r"[^\W_]+")
_KEYLIKE = re.compile(rf"[A-Za-z0-9_\-+/=.:@]{{{MIN_KEY_CHARACTERS},}}")
_ADDRESS = re.compile(r"https?://\S+")  # who may read it is another question
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:.-]?){8,}")
_BASE64_PLACES = 4  # what stands before the code may be a part of its last group
_MIN_SECRET_CHARACTERS = 6


class PrivateText:
    """What one run must not give away."""

    def __init__(self, *, secrets: Iterable[str], instructions: Iterable[str], public: Iterable[str]) -> None:
        """`public` is the user's own words: whatever stands there may go anywhere."""
        self._secrets = frozenset(_squeezed(secret) for secret in secrets if len(secret) >= _MIN_SECRET_CHARACTERS)
        self._keys: set[str] = set()
        self._runs: set[int] = set()
        self._public_keys: set[str] = set()
        self._public_runs: set[int] = set()
        for text in public:
            self._learn_public(text)
        for text in instructions:
            self.learn(text)

    def __repr__(self) -> str:
        return f"<PrivateText [{len(self._keys)} keys, {len(self._runs)} runs of words]>"

    def learn(self, text: str) -> None:
        """Takes in a private text."""
        self._keys.update(_keys(text))
        self._runs.update(_runs(text))

    def learn_passages(self, passages: Iterable[Passage]) -> None:
        """Takes in what a tool brought home: what is of the web is public, everything else is private."""
        for passage in passages:
            if passage.url is not None:
                self._learn_public(passage.text)
            elif not passage.is_own_work:
                self.learn(passage.text)

    def is_in(self, arguments: JsonObject) -> bool:
        """Whether the arguments of a call carry any of it."""
        return any(self._is_told_by(reading) for text in _texts(arguments) for reading in _readings(text))

    def _learn_public(self, text: str) -> None:
        self._public_keys.update(_keys(text))
        self._public_runs.update(_runs(text))

    def _is_told_by(self, text: str) -> bool:
        squeezed = _squeezed(text)
        if any(secret in squeezed for secret in self._secrets):
            return True
        if any(key in squeezed for key in self._keys - self._public_keys):
            return True
        return any(run in self._runs and run not in self._public_runs for run in _runs(text))


def _keys(text: str) -> Iterator[str]:
    """Words that look like keys or passwords: long, and of letters and digits mixed."""
    for match in _KEYLIKE.finditer(_ADDRESS.sub(" ", text)):
        for word in {match.group(), *re.split(r"[=:@/]", match.group())}:
            squeezed = _squeezed(word)
            has_both = any(letter.isdigit() for letter in squeezed) and any(letter.isalpha() for letter in squeezed)
            if len(squeezed) >= MIN_KEY_CHARACTERS and has_both:
                yield squeezed


def _runs(text: str) -> Iterator[int]:
    words = [word.lower() for word in _WORD.findall(text)]
    for start in range(len(words) - RUN_WORDS + 1):
        yield hash(tuple(words[start : start + RUN_WORDS]))


def _readings(text: str) -> Iterator[str]:
    """The text, and what it says to somebody who knows the trick."""
    yield text
    yield text[::-1]
    if "%" in text:
        yield unquote(text)
    for run in _HEX.findall(text):
        yield bytes.fromhex("".join(re.findall("[0-9A-Fa-f]", run))).decode("utf-8", "replace")
    for run in _BASE64.findall(text):
        for word in {run, *run.split("/")}:
            for start in range(_BASE64_PLACES):
                yield _from_base64(word[start:])


def _from_base64(word: str) -> str:
    whole = word.replace("-", "+").replace("_", "/")[: len(word) // 4 * 4 + (len(word) % 4 > 1) * (len(word) % 4)]
    return base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace")


def _texts(value: JsonValue) -> Iterator[str]:
    """Every string in the arguments, and all of them in a row: a text cut in pieces is one text."""
    pieces = list(_strings(value))
    yield from pieces
    if len(pieces) > 1:
        yield " ".join(pieces)


def _strings(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _strings(item)
        case dict():
            for name, item in value.items():
                yield name
                yield from _strings(item)
        case _:
            pass


def _squeezed(text: str) -> str:
    return "".join(_WORD.findall(text)).lower()
