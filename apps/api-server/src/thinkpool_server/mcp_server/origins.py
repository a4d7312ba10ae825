"""Which pages of browsers may speak to the endpoint: what keeps other people's pages from using somebody's own server.

A page that was loaded from a name which then comes to mean this machine (DNS rebinding) sends requests that look like
the server's own: their `Origin` agrees with their `Host`. But it needs a name for that; it cannot do it with an
address, nor with `localhost`. And where a key is asked for, it has none.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports (security warning)
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from thinkpool_server.settings import Settings

_SCHEMES = ("http", "https")


def is_trusted(settings: Settings, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request with these headers may be answered, as far as where it comes from is concerned."""
    host = _only(headers, b"host")
    origin = _only(headers, b"origin")
    if host is None or origin is None:
        return False
    is_private = not settings.server_api_keys and settings.is_loopback_only
    if is_private and not _is_fixed(_parts(f"http://{host}")):
        return False
    if not origin or origin in settings.cors_origins or "*" in settings.cors_origins:
        return True
    page = _parts(origin)
    if page is None or page.scheme not in _SCHEMES or page.netloc.lower() != host.lower():
        return False
    return bool(settings.server_api_keys) or _is_fixed(page)


def _only(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    """The header's value, empty without it; None when there are several."""
    values = [value.decode("latin-1") for name, value in headers if name == wanted]
    return None if len(values) > 1 else "".join(values)


def _parts(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _is_fixed(parts: SplitResult | None) -> bool:
    """Whether the host means the same machine whatever a name server says."""
    name = (parts.hostname or "") if parts is not None else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
