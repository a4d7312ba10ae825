"""One short question to an HTTP service: its answer, or why there is none, in words of ours."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import httpx
import orjson
from pydantic import JsonValue

ANSWER_SECONDS: Final = 6.0
"""How long a service may take to answer what costs it nothing."""

MAX_BYTES: Final = 4 * 1024 * 1024

Client: TypeAlias = httpx.AsyncClient

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a service said."""

    status: int
    date: str
    """Its Date header; empty when it has none."""
    asked_at: float
    """By our clock, in seconds since the epoch."""
    content: bytes = field(repr=False)

    @property
    def value(self) -> JsonValue:
        """The JSON that it holds; None where it holds none."""
        try:
            return cast("JsonValue", orjson.loads(self.content))
        except orjson.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """There is no answer."""

    reason: str
    """Such as `nothing listens there`."""


@asynccontextmanager
async def open_client() -> AsyncGenerator[Client]:
    """A client that asks as the server's own do: without proxies, and without following redirects."""
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as client:
        yield client


async def ask(client: Client, url: str, headers: Mapping[str, str] | None = None) -> Answer | Silence:
    """What a GET comes to; of a long answer the beginning."""
    asked_at = time.time()
    content = bytearray()
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            client.stream("GET", url, headers=headers or {}) as response,
        ):
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Silence(reason=reason_of(error))
    date = response.headers.get("date", "")
    return Answer(status=response.status_code, date=date, asked_at=asked_at, content=bytes(content))


async def connect(url: str) -> Silence | None:
    """Connects to where the URL leads, with TLS if it says so, and hangs up; None when that worked."""
    parts = urlsplit(url)
    context = ssl.create_default_context() if parts.scheme == "https" else None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _PORTS[parts.scheme], ssl=context)
    except OSError as error:
        return Silence(reason=reason_of(error))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None


def reason_of(error: BaseException) -> str:
    """Why there was no connection, or no answer."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return "its certificate is not trusted"
            case ssl.SSLError():
                return "it does not speak TLS as it should"
            case socket.gaierror():
                return "its name is not known"
            case ConnectionRefusedError():
                return "nothing listens there"
            case TimeoutError() | httpx.TimeoutException():
                return f"it does not answer within {ANSWER_SECONDS:g} s"
            case _:
                pass
    return f"it breaks off ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        if isinstance(seen, BaseExceptionGroup):
            seen = cast("BaseExceptionGroup[BaseException]", seen).exceptions[0]
        else:
            seen = seen.__cause__ or seen.__context__
