"""HOST and PORT: free to listen on, or held by a server of ours, which is then asked how it is."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from pydantic import JsonValue

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.cli.doctor.http_probe import Answer, ask, open_client
from thinkpool_server.settings import Settings

ADDRESS: Final = "address"
SERVER: Final = "server"

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- looked up, not bound to
_PRIVILEGED = 1024
_STATES = {
    "starting": "wait until it has started",
    "draining": "wait until it has ended",
    "database-unreachable": "see what is said of the database",
}


async def examine_address(subject: Subject) -> Sequence[Finding]:
    """Whether a server can listen there; if one of ours does, how it is."""
    settings = subject.settings
    holder_url = None if subject.holder is None else subject.holder.url
    found = [] if holder_url is None else [_server(holder_url, await _health(holder_url))]
    if settings.port == 0:
        return [ok(ADDRESS, f"{settings.host}, any free port"), *found]
    if holder_url is not None and urlsplit(holder_url).port == settings.port:
        return [ok(ADDRESS, f"{_name(settings)}: held by the server that uses the data directory"), *found]
    return [await _free(settings), *found]


async def _free(settings: Settings) -> Finding:
    failure = await asyncio.to_thread(_bind, settings)
    if failure is None:
        return ok(ADDRESS, f"{_name(settings)}: free to listen on")
    if failure.errno == errno.EADDRINUSE:
        return await _taken(settings)
    if failure.errno == errno.EACCES and settings.port < _PRIVILEGED:
        found = f"{_name(settings)}: this user may not listen there"
        return problem(ADDRESS, found, mend=f"choose a PORT of {_PRIVILEGED} or more, with a proxy before it")
    reason = os.strerror(failure.errno) if failure.errno and failure.errno > 0 else "no such address"
    return problem(ADDRESS, f"{_name(settings)}: {reason}", mend="let HOST be an address of this machine, or 0.0.0.0")


async def _taken(settings: Settings) -> Finding:
    host = _EVERYWHERE.get(settings.host, settings.host)
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    health = await _health(url)
    if health is None:
        return problem(ADDRESS, f"{_name(settings)}: taken by another program", mend="end it, or choose another PORT")
    return problem(
        ADDRESS,
        f"{_name(settings)}: taken by a ThinkPool server that uses another data directory",
        mend="choose another PORT for one of them, or give this command the DATA_DIR of that server",
    )


def _bind(settings: Settings) -> OSError | None:
    """Takes the address for a moment, without listening; why that does not work."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


async def _health(url: str) -> dict[str, JsonValue] | None:
    """What a server of ours says of itself; None when there is none."""
    async with open_client() as client:
        answer = await ask(client, f"{url}/health")
    value = answer.value if isinstance(answer, Answer) else None
    return value if isinstance(value, dict) and "pool_size" in value and "engine" in value else None


def _server(url: str, health: dict[str, JsonValue] | None) -> Finding:
    if health is None:
        found = f"{url} does not answer, and holds the data directory"
        return problem(SERVER, found, mend="see its logs and whether it is frozen; if so, end it and start it again")
    state, own = str(health.get("status")), version("thinkpool-server")
    found = (
        f"{url} is {state}: version {health.get('version')}, replica {health.get('replica')},"
        f" {health.get('active_requests')} runs execute, {health.get('queued_requests')} wait,"
        f" {health.get('open_streams')} streams are open"
    )
    if state != "ok":
        return warning(SERVER, found, mend=_STATES.get(state, "see its logs"))
    if health.get("version") != own:
        return warning(SERVER, found, mend=f"restart it: {own} is what is installed")
    return ok(SERVER, found)


def _name(settings: Settings) -> str:
    return f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
