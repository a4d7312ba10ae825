"""Dates as pages write them, to one form; a page's word must not bring anything else into what a model reads."""

import re
from datetime import date
from email.utils import parsedate_to_datetime

_ISO = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?(?!\d)")


def iso_date(text: str) -> str | None:
    """`2024-05-01`, `2024-05` or `2024`, of a date in ISO 8601 or as e-mail has it, with a time or without."""
    match = _ISO.match(text.strip())
    try:
        if match is None:
            return parsedate_to_datetime(text).date().isoformat()
        year, month, day = match.groups()
        date(int(year), int(month or 1), int(day or 1))  # raises where there is no such day
    except ValueError:
        return None
    return match.group()
