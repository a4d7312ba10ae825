"""Names that a model may be given for what servers call as they like."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

MAX_NAME_CHARACTERS = 64
"""What every model's endpoint takes for a tool's name."""
_MAX_SLUG_CHARACTERS = 24

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_UNSAFE = re.compile(r"[^a-z0-9]+")


def server_slugs(names: Iterable[str]) -> dict[str, str]:
    """For each server's name what its tools' names start with: `[a-z0-9_]+` without `__`, and no two alike."""
    return _unique(names, fallback="server", max_characters=_MAX_SLUG_CHARACTERS)


def tool_names(slug: str, remote_names: Iterable[str]) -> dict[str, str]:
    """For each of a server's tools the name it is offered under: `{slug}__{tool}`, no two alike, in the given order."""
    max_characters = MAX_NAME_CHARACTERS - len(slug) - 2
    safe = _unique(remote_names, fallback="tool", max_characters=max_characters)
    return {remote: f"{slug}__{name}" for remote, name in safe.items()}


def _unique(names: Iterable[str], *, fallback: str, max_characters: int) -> dict[str, str]:
    """What is too long, or would be like another's, ends in a hash of the name, so that it stays the same."""
    safe = {name: _safe(name) or fallback for name in names}
    counts = Counter(safe.values())
    return {
        name: _hashed(text, name, max_characters) if counts[text] > 1 or len(text) > max_characters else text
        for name, text in safe.items()
    }


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", _HUMP.sub("_", name).lower()).strip("_")


def _hashed(text: str, name: str, max_characters: int) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{text[: max_characters - 9].rstrip('_')}_{digest}"
