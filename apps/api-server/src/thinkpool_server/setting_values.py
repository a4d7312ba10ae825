"""How settings are written: what their text must look like, and what it comes to. No message repeats a value."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

_KEY_CHARACTERS = re.compile(r"[!-~]+")  # what an HTTP header carries without quoting
_MIN_KEY_CHARACTERS = 8
_TENANT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IMPORTABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*")
_METRIC_PREFIX = re.compile(r"[a-z][a-z0-9_]*")
_SECRET_PREFIX = "whsec_"  # noqa: S105 -- what such secrets begin with
_SECRET_BYTES = range(24, 65)
_DATABASE_HOST = re.compile(r"([^@:\[\]]*|\[[^@\[\]]*\])(:[0-9]*)?")
_HOST = re.compile(r"([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class ServerKey:
    """One client's key."""

    tenant: str
    """The key's name: whose runs are whose."""
    key: SecretStr


@dataclass(frozen=True, slots=True)
class TenantWebhook:
    """Where a tenant is told of the ends of its runs."""

    tenant: str
    url: SecretStr
    """A secret, since those who know it may be let in by it."""


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """What webhooks are signed with."""

    tenant: str | None
    """Whose; None for all tenants that have none of their own."""
    key: SecretStr
    """As Standard Webhooks write it: `whsec_` and base64.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    @property
    def key_bytes(self) -> bytes:
        """The key itself."""
        return base64.b64decode(self.key.get_secret_value().removeprefix(_SECRET_PREFIX), validate=True)


def checked_url(value: str) -> str:
    """The URL without a slash at its end."""
    parts = _split_url(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should be an http or https URL")
    if parts.username or parts.password:
        raise ValueError("should hold no user name or password")
    return value.rstrip("/")


def checked_database_url(value: SecretStr) -> SecretStr:
    """The address of a PostgreSQL database, in which its client finds no part of the password elsewhere.

    Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    """
    url = value.get_secret_value()
    parts = _split_url(url)
    if parts is None or parts.scheme not in ("postgresql", "postgres") or len(parts.path) < len("/x"):
        raise ValueError("should be postgresql://user:password@host:port/database")
    authority, _, rest = url.partition("://")[2].partition("/")
    user, at, hosts = authority.partition("@")
    if not at:
        hosts = user
    if "@" in rest.partition("?")[0] or not all(map(_DATABASE_HOST.fullmatch, hosts.split(","))):
        raise ValueError(
            "should be postgresql://user:password@host:port/database, with a number for the port, and with / and @ in"
            " the password escaped as %2F and %40"
        )
    return value


def password_of(url: str) -> str:
    """The password in a URL, as it is used; empty when there is none."""
    return unquote(urlsplit(url).password or "")


def checked_secret(value: SecretStr) -> SecretStr:
    """The secret, if a header can carry it."""
    if not _KEY_CHARACTERS.fullmatch(value.get_secret_value()):
        raise ValueError("should be printable ASCII without blanks")
    return value


def split(value: object) -> object:
    """What stands between commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def server_keys(value: object) -> object:
    """`name:key` pairs."""
    if not isinstance(value, str):
        return value
    keys: list[ServerKey] = []
    for pair in value.split(","):
        name, colon, key = pair.strip().partition(":")
        if (
            not colon
            or not _TENANT_NAME.fullmatch(name)
            or not _KEY_CHARACTERS.fullmatch(key)
            or len(key) < _MIN_KEY_CHARACTERS
        ):
            raise ValueError(
                "should be name:key pairs with commas between them: names of letters, digits, _ and -, "
                "keys of 8 characters or more"
            )
        keys.append(ServerKey(name, SecretStr(key)))
    if len({key.key.get_secret_value() for key in keys}) < len(keys):
        raise ValueError("should give each name a key of its own")
    return tuple(keys)


def webhooks(value: object) -> object:
    """`tenant:url` pairs."""
    if not isinstance(value, str):
        return value
    found: dict[str, TenantWebhook] = {}
    for pair in filter(None, (part.strip() for part in value.split(","))):
        tenant, _, url = pair.partition(":")
        if not _TENANT_NAME.fullmatch(tenant) or tenant in found or not _is_plain_url(url):
            raise ValueError(
                "should be tenant:url pairs with commas between them, one for a tenant: http or https URLs without a "
                "user name, a comma in them written as %2C"
            )
        found[tenant] = TenantWebhook(tenant, SecretStr(url))
    return tuple(found.values())


def webhook_secrets(value: object) -> object:
    """`whsec_...` secrets, each for all tenants or, as `tenant:whsec_...`, for one."""
    if not isinstance(value, str):
        return value
    found: list[WebhookSecret] = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        tenant, colon, key = part.rpartition(":")
        secret = WebhookSecret(tenant if colon else None, SecretStr(key))
        if (colon and not _TENANT_NAME.fullmatch(tenant)) or not _is_signing_key(secret):
            raise ValueError(
                "should be secrets with commas between them, each whsec_ and the base64 of 24 to 64 random bytes, with "
                "tenant: before it if it is for one tenant alone"
            )
        found.append(secret)
    return tuple(found)


def checked_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts in small letters, with a port or without."""
    hosts = tuple(host.lower() for host in value)
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError("should be hosts such as hooks.example.internal or 127.0.0.1:9000, with commas between them")
    return hosts


def _split_url(url: str) -> SplitResult | None:
    """The URL's parts; None if it is none. The errors of `urlsplit` repeat what they are about."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _is_plain_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            _KEY_CHARACTERS.fullmatch(url) is not None
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
        )
    except ValueError:
        return False


def _is_signing_key(secret: WebhookSecret) -> bool:
    try:
        return secret.key.get_secret_value().startswith(_SECRET_PREFIX) and len(secret.key_bytes) in _SECRET_BYTES
    except ValueError:
        return False


def checked_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """The origins, as browsers send them."""
    for origin in value:
        if origin != "*" and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin):
            raise ValueError("should be origins such as https://chat.example.org, with commas between them, or *")
    return value


def checked_directory(value: Path) -> Path:
    """A folder."""
    if not value.is_dir():
        raise ValueError("should be a folder that exists")
    return value


def checked_namespace(value: str) -> str:
    """A prefix of metrics."""
    if not _METRIC_PREFIX.fullmatch(value):
        raise ValueError("should be small letters, digits and _, with a letter first")
    return value


def lower(value: object) -> object:
    """In small letters."""
    return value.lower() if isinstance(value, str) else value


def secrets(value: object) -> object:
    """Several secrets with commas between them."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def checked_objects(value: tuple[str, ...]) -> tuple[str, ...]:
    """The importable names, as `package.module:name`."""
    for name in value:
        if not _IMPORTABLE.fullmatch(name):
            raise ValueError("should be names such as package.module:name, with commas between them")
    return value


Url = Annotated[str, AfterValidator(checked_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(checked_database_url)]
Secret = Annotated[SecretStr, AfterValidator(checked_secret)]
Secrets = Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(secrets)]
ImportableNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(checked_objects)]
Webhooks = Annotated[tuple[TenantWebhook, ...], NoDecode, BeforeValidator(webhooks)]
WebhookSecrets = Annotated[tuple[WebhookSecret, ...], NoDecode, BeforeValidator(webhook_secrets)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(checked_hosts)]
