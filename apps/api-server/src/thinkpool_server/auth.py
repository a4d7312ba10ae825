"""Who asks: a key names its tenant. Pure ASGI, before the body is read; the routes find the tenant in the scope.

Open servers know one tenant, `default`. Every refusal is the same, whatever was wrong with the key, and every
comparison takes the same time: digests are compared, all of them, whichever fits.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from thinkpool_server.error_responses import Failure, respond
from thinkpool_server.runs import Tenant
from thinkpool_server.setting_values import ServerKey
from thinkpool_server.settings import OPEN_TENANT

DEFAULT_TENANT = Tenant(OPEN_TENANT)
"""Everybody, on an open server."""

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics", "/openapi.json"})
"""Paths that need no key: probes and scrapers have none. They tell figures, never questions or answers."""

_REFUSAL = Failure(
    status=401,
    code="unauthorized",
    message="A valid key is needed: send it as a bearer token or as X-API-Key.",
    headers={"WWW-Authenticate": 'Bearer realm="thinkpool"'},
)


class KeyRing:
    """The server's keys, as digests."""

    def __init__(self, keys: Iterable[ServerKey]) -> None:
        self._tenants = tuple((_digest(key.key.get_secret_value().encode()), Tenant(key.tenant)) for key in keys)

    def tenant_of(self, presented: bytes | None) -> Tenant | None:
        """Whose key this is; None when it is nobody's. Without keys, everybody is the default tenant."""
        if not self._tenants:
            return DEFAULT_TENANT
        digest = _digest(presented or b"")
        found: Tenant | None = None
        for known, tenant in self._tenants:
            if hmac.compare_digest(known, digest):
                found = tenant
        return found


class Authentication:
    """Lets a request through with its tenant in the scope, or refuses it."""

    def __init__(self, app: ASGIApp, key_ring: KeyRing) -> None:
        self._app = app
        self._key_ring = key_ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            tenant = self._key_ring.tenant_of(_presented_key(scope["headers"]))
            if tenant is None:
                await respond(scope["path"], _REFUSAL)(scope, receive, send)
                return
            scope["thinkpool.tenant"] = tenant
        await self._app(scope, receive, send)


async def current_tenant(request: Request) -> Tenant:
    """The tenant that `Authentication` found."""
    return request.scope["thinkpool.tenant"]


def _presented_key(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return token.strip()
        elif name == b"x-api-key":
            return value.strip()
    return None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
