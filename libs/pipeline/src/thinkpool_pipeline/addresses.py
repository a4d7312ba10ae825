"""Addresses of pages, in one form, so that a page found and a page read are the same source."""

from urllib.parse import urlsplit, urlunsplit

MAX_ADDRESS_CHARACTERS = 2048


def page_address(text: str) -> str | None:
    """The address of a page on the web, without its fragment; None for anything else.

    Only http and https, and no user name or password: what a model makes up must not carry any.
    """
    text = text.strip()
    if len(text) > MAX_ADDRESS_CHARACTERS or not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path, parts.query, ""))
