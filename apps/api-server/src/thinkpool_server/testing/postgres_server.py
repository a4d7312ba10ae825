"""A real PostgreSQL for tests: a cluster in a directory of its own, on a free loopback port.

It needs the server's programs (`postgresql` in Debian), no service and no root: started by root, it runs as the user
that the package made, since PostgreSQL refuses to run as root.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import psycopg

from thinkpool_server.testing.ports import lasting_port

_PLACES = "/usr/lib/postgresql/*/bin"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # what is tested is the death of processes, not of machines
    "max_connections": "200",
    "unix_socket_directories": "",
    "log_min_messages": "fatal",
}


def find_programs() -> Path | None:
    """The directory of the newest PostgreSQL's programs; None when there is none."""
    found = sorted(Path("/").glob(_PLACES.lstrip("/")), key=lambda path: int(path.parent.name.split(".")[0]))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """One cluster; it can be stopped and started again, on the same port and data."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._data = directory / "data"
        self._log = directory / "postgres.log"
        self._programs = programs
        self._numbers = count(1)
        self._user = "postgres" if os.geteuid() == 0 else None
        self.port = lasting_port()
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(directory, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        settings = "".join(f"{name} = '{value}'\n" for name, value in {**_SETTINGS, "port": self.port}.items())
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(settings)

    def __repr__(self) -> str:
        return f"<PostgresServer port {self.port}>"

    def url(self, database: str = "postgres") -> str:
        """Where a database of this cluster is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it takes connections."""
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-t", "60", "start")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Returns when it is gone: `fast` ends its sessions, `immediate` crashes."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-t", "60", "stop")

    def new_database(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 -- programs and arguments of our own
            [self._programs / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )


@contextmanager
def running_postgres(programs: Path) -> Generator[PostgresServer]:
    """A cluster that runs as long as the block lasts, and is deleted then."""
    directory = Path(mkdtemp(prefix="thinkpool-postgres-"))
    try:
        server = PostgresServer(directory, programs)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory)
