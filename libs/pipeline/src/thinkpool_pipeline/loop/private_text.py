"""Keeps private text from leaving the house in a tool's arguments, whatever a page told the model to do.

Private are the operator's keys, the system's instructions, the local documents and the files that came with the
question. Refused is what carries a key, a word of theirs that looks like one, or a long run of their words; the user's
own words and what the web has said already may go. Spelled backwards, spaced out or in base64, hex or percent signs, it
is still the same. Plain names and figures pass: research on documents lives from looking those up.
"""

import base64
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from pydantic import JsonValue

from thinkpool_pipeline.values import JsonObject, Passage

MIN_KEY_CHARACTERS = 16
"""Shorter words are names, as `Qwen3-235B-A22B` is, rather than keys."""
MIN_SECRET_CHARACTERS = 12
"""Shorter ones of the operator's keys are placeholders, as for a local model."""
RUN_WORDS = 12
"""So many words in a row, copied, are a text and no longer a question about it."""
MAX_CHECKED_CHARACTERS = 50_000
"""Longer arguments are not looked through, and do not go out."""
_WORD = re.compile(r"[^\W_]+")
_KEYLIKE = re.compile(rf"[A-Za-z0-9_\-+/=.:@]{{{MIN_KEY_CHARACTERS},}}")
_ADDRESS = re.compile(r"https?://\S+")  # who may read it is another question
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:.-]?){8,}")
_BASE64_PLACES = 4  # what stands before the code may be a part of its last group


class _Keys:
    """Words that look like keys, found in a text in one pass."""

    def __init__(self, start_characters: int) -> None:
        self._start_characters = start_characters
        self._by_start: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(map(len, self._by_start.values()))

    def add(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._by_start[key[: self._start_characters]].add(key)

    def remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._by_start[key[: self._start_characters]].discard(key)

    def are_in(self, squeezed: str) -> bool:
        size = self._start_characters
        return any(
            squeezed.startswith(key, place)
            for place in range(len(squeezed) - size + 1)
            for key in self._by_start.get(squeezed[place : place + size], ())
        )


class PrivateText:
    """What one run must not give away."""

    def __init__(self, *, secrets: Iterable[str], instructions: Iterable[str], public: Iterable[str]) -> None:
        """`public` is the user's own words: whatever stands there may go anywhere."""
        self._secrets = _Keys(MIN_SECRET_CHARACTERS)
        self._keys = _Keys(MIN_KEY_CHARACTERS)
        self._runs: set[int] = set()
        self._public_keys: set[str] = set()
        self._public_runs: set[int] = set()
        self._secrets.add(key for secret in secrets if _is_keylike(key := _squeezed(secret), MIN_SECRET_CHARACTERS))
        for text in public:
            self._learn_public(text)
        for text in instructions:
            self.learn(text)

    def __repr__(self) -> str:
        return f"<PrivateText [{len(self._keys)} keys, {len(self._runs)} runs of words]>"

    def learn(self, text: str) -> None:
        """Takes in a private text."""
        self._keys.add(key for key in _keys(text) if key not in self._public_keys)
        self._runs.update(_runs(text))

    def learn_passages(self, passages: Iterable[Passage]) -> None:
        """Takes in what a tool brought home: what is of the web is public, everything else is private."""
        for passage in passages:
            if passage.url is not None:
                self._learn_public(passage.text)
            elif not passage.is_own_work:
                self.learn(passage.text)

    def is_in(self, arguments: JsonObject) -> bool:
        """Whether the arguments of a call carry any of it, or are too long to tell."""
        names, values = _strings(arguments)
        if sum(map(len, values)) + sum(map(len, names)) > MAX_CHECKED_CHARACTERS:
            return True
        # All values in a row, too: a text cut in pieces is one text.
        texts = [*names, *values, " ".join(values)] if len(values) > 1 else [*names, *values]
        return any(self._is_told_by(reading) for text in texts for reading in _readings(text))

    def _learn_public(self, text: str) -> None:
        keys = set(_keys(text))
        self._public_keys |= keys
        self._keys.remove(keys)
        self._public_runs.update(_runs(text))

    def _is_told_by(self, text: str) -> bool:
        squeezed = _squeezed(text)
        if self._secrets.are_in(squeezed) or self._keys.are_in(squeezed):
            return True
        return any(run in self._runs and run not in self._public_runs for run in _runs(text))


def _keys(text: str) -> Iterator[str]:
    """Words that look like keys or passwords: long, and of letters and digits mixed."""
    for match in _KEYLIKE.finditer(_ADDRESS.sub(" ", text)):
        for word in {match.group(), *re.split(r"[=:@/]", match.group())}:
            squeezed = _squeezed(word)
            if _is_keylike(squeezed, MIN_KEY_CHARACTERS):
                yield squeezed


def _is_keylike(squeezed: str, min_characters: int) -> bool:
    has_both = any(letter.isdigit() for letter in squeezed) and any(letter.isalpha() for letter in squeezed)
    return len(squeezed) >= min_characters and has_both


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
    runs = {run for whole in (text, "".join(text.split())) for run in _BASE64.findall(whole)}
    for word in runs | {part for run in runs for part in run.split("/")}:
        for start in range(_BASE64_PLACES):
            yield _from_base64(word[start:])


def _from_base64(word: str) -> str:
    whole = word.replace("-", "+").replace("_", "/")
    whole = whole[: len(whole) - (len(whole) % 4 == 1)]
    return base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace")


def _strings(value: JsonValue) -> tuple[list[str], list[str]]:
    """Every name and every text in the arguments, in order."""
    names: list[str] = []
    values: list[str] = []
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                values.append(text)
            case list() as items:
                waiting.extend(reversed(items))
            case dict() as fields:
                names.extend(fields)
                waiting.extend(reversed(fields.values()))
            case _:
                pass
    return names, values


def _squeezed(text: str) -> str:
    return "".join(_WORD.findall(unicodedata.normalize("NFKC", text))).lower()
