"""Which places a request may name to be told of its run's end, and what a tenant's webhooks are signed with. No I/O."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import httpx
from thinkpool_pipeline.outward import AddressForbidden, check_url

from thinkpool_server.errors import InvalidField, UnsupportedField
from thinkpool_server.runs import Tenant
from thinkpool_server.setting_values import WebhookSecret
from thinkpool_server.settings import Settings

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """The operator's rules."""

    secrets: Sequence[WebhookSecret]
    hosts: Collection[str]
    """In small letters, with a port or without: they may be called although they are not on the public internet."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The rules that these settings make."""
        return cls(secrets=settings.webhook_secrets, hosts=settings.webhook_hosts)

    def keys_for(self, tenant: Tenant) -> list[bytes]:
        """What the tenant's webhooks are signed with, each with all of them; none where it gets no webhooks."""
        own = [secret.key_bytes for secret in self.secrets if secret.tenant == tenant]
        return own or [secret.key_bytes for secret in self.secrets if secret.tenant is None]

    def check(self, field: str, url: str, tenant: Tenant) -> None:
        """Does nothing where the tenant may name this URL. What its name stands for is looked at when it is called.

        Raises:
            InvalidField: it may not; the message says why, and nothing of the URL.

        """
        if not self.keys_for(tenant):
            raise UnsupportedField(field, "This server sends no webhooks: it has nothing to sign them with.")
        try:
            if not self.is_listed(url):
                check_url(url)
        except AddressForbidden as forbidden:
            raise InvalidField(field, f"The address is not allowed: {forbidden.reason}.") from None

    def is_listed(self, url: str) -> bool:
        """Whether the operator lets this URL's host be called wherever it is."""
        try:
            parsed = httpx.URL(url)
            host = parsed.raw_host.decode("ascii").lower()
        except (httpx.InvalidURL, ValueError):
            return False
        if parsed.scheme not in _PORTS or parsed.userinfo:
            return False
        host = f"[{host}]" if ":" in host else host
        port = _PORTS[parsed.scheme] if parsed.port is None else parsed.port
        return host in self.hosts or f"{host}:{port}" in self.hosts
