"""What an examination finds: values, one a line."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "problem"]
"""`problem`: the server does not start, or something that it was told to use does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    found: str
    """One line."""
    mend: str = ""
    """What to do about it, in one line; empty when all is well."""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, level="ok", found=found)


def warning(check: str, found: str, *, mend: str) -> Finding:
    """It works, but not as well, or not for long."""
    return Finding(check=check, level="warning", found=found, mend=mend)


def problem(check: str, found: str, *, mend: str) -> Finding:
    """It does not work."""
    return Finding(check=check, level="problem", found=found, mend=mend)
