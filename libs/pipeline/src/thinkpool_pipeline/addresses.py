"""Addresses of pages, in one form, so that a page found and a page read are the same source."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

MAX_ADDRESS_CHARACTERS = 2048
_ADDRESS = re.compile(r"https?://[^\s<>\"'`\\^{|}]+", re.IGNORECASE)
_AFTER_ADDRESS = ".,;:!?*_~"


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


def addresses_in(text: str) -> Iterator[str]:
    """The pages' addresses that stand in a text, in Markdown's links as in prose, as `page_address` gives them."""
    for match in _ADDRESS.finditer(text):
        address = page_address(address_before(match.group()))
        if address is not None:
            yield address


def address_before(address: str) -> str:
    """The address without what closes the sentence, the brackets or the link around it; never empty for one that is."""
    for opening, closing in ("()", "[]"):
        depth = 0
        for index, character in enumerate(address):
            depth += (character == opening) - (character == closing)
            if depth < 0:
                address = address[:index]
                break
    return address.rstrip(_AFTER_ADDRESS)
