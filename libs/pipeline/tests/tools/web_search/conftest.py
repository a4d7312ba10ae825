import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from thinkpool_pipeline.outward import Outward, Timing, UpstreamSettings, open_outward
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.loopback import Loopback
from thinkpool_pipeline.testing.search_engines import HOSTS, SearchEngines
from thinkpool_pipeline.tools.web_search import (
    KEYLESS_UPSTREAM,
    DuckDuckGo,
    Found,
    KeylessSettings,
    Search,
    SearXNG,
    SearXNGSettings,
    Serper,
    SerperSettings,
)
from thinkpool_pipeline.values import Passage, RunId, StepName


@dataclass
class Caller:
    """Who calls the tool, and what was said to the people who watch."""

    progress: list[str] = field(default_factory=list)

    @property
    def context(self) -> CallContext:
        return CallContext(run_id=RunId("r1"), step=StepName("turn/1/call/1"), report_progress=self.progress.append)


@dataclass
class FakeTime:
    """Time that passes only by sleeping."""

    now: float = 1_000_000.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
async def outward(time: FakeTime) -> AsyncIterator[Outward]:
    async with (
        asyncio.timeout(20),
        open_outward(Timing(clock=time.clock, sleep=time.sleep, random=lambda: 0.5)) as outward,
    ):
        yield outward


@pytest.fixture
def serper_at(outward: Outward) -> Callable[..., Serper]:
    def serper_at(service: Loopback, keys: tuple[str, ...] = ("key-secret",), **changes: object) -> Serper:
        upstream = outward.upstream("search", UpstreamSettings(keys=keys))
        return Serper(upstream, SerperSettings(base_url=f"{service.url}/", **changes))

    return serper_at


@pytest.fixture
def searxng_at(outward: Outward) -> Callable[..., SearXNG]:
    def searxng_at(service: Loopback, path: str = "", **changes: object) -> SearXNG:
        settings = SearXNGSettings(base_url=f"{service.url}{path}", **changes)
        return SearXNG(outward.upstream("searxng"), settings)

    return searxng_at


@pytest.fixture
def find(caller: Caller) -> Callable[..., object]:
    """Has a provider search."""

    async def find(provider, query: str = "q", *, total_seconds: float = 10.0, **changes: object) -> Found:
        return await provider.search(Search(query=query, **changes), caller.context, total_seconds=total_seconds)

    return find


@pytest.fixture
def passage() -> Callable[..., Passage]:
    def passage(link: str, title: str, text: str, shown: str | None = None) -> Passage:
        return Passage(document=link, url=link, title=title, text=text, shown=shown)

    return passage


@pytest.fixture
async def engines(certificates: Path) -> AsyncIterator[SearchEngines]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "engines.pem")
    async with SearchEngines(tls) as engines:
        yield engines


@pytest.fixture
def keyless_settings(engines: SearchEngines, certificates: Path) -> Callable[..., KeylessSettings]:
    def keyless_settings(**changes: object) -> KeylessSettings:
        return KeylessSettings(**({"proxy": engines.url, "ca_file": certificates / "authority.pem"} | changes))

    return keyless_settings


@pytest.fixture
async def keyless(outward: Outward, keyless_settings, time: FakeTime) -> AsyncIterator[Callable[..., DuckDuckGo]]:
    made: list[DuckDuckGo] = []

    def keyless(**changes: object) -> DuckDuckGo:
        upstream = outward.upstream("duckduckgo", KEYLESS_UPSTREAM)
        made.append(DuckDuckGo(upstream, keyless_settings(**changes), clock=time.clock))
        return made[-1]

    yield keyless
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `engines.pem`, a certificate for the engines with its key, and `authority.pem`, which signed it."""
    folder = tmp_path_factory.mktemp("certificates")
    authority_key, engines_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    authority = (
        _valid_today(authority_key, name, name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    hosts = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    engines = (
        _valid_today(engines_key, x509.Name([]), name)
        .add_extension(hosts, critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = engines_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "engines.pem").write_bytes(engines.public_bytes(serialization.Encoding.PEM) + key)
    return folder


def _valid_today(key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(tz=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
