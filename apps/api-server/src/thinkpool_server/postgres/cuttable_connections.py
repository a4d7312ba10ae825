"""Connections for threads that may have to be left: one that waits for an answer can be cut."""

import threading

import psycopg

from thinkpool_server.postgres.connection import Connection, hang_up, open_connection, prepare


class CuttableConnections:
    """Opens connections until they are cut."""

    def __init__(self, url: str, *, purpose: str, statement_seconds: float = 0) -> None:
        """`purpose` names them in `pg_stat_activity`; the server ends a longer statement itself, unless that is 0."""
        self._url = url
        self._purpose = purpose
        self._statement_seconds = statement_seconds
        self._open: list[Connection] = []
        self._guard = threading.Lock()  # over the list, which threads add to
        self._is_cut = False

    def __repr__(self) -> str:
        return f"<CuttableConnections {self._purpose} [{len(self._open)} open]>"

    def open(self) -> Connection:
        """A new one, in autocommit mode.

        Raises:
            psycopg.OperationalError: the server cannot be reached, or refuses, or connections have been cut.

        """
        if self._is_cut:
            raise psycopg.OperationalError("connections have been cut")
        connection = open_connection(self._url, purpose=self._purpose)
        with self._guard:
            self._open = [*(other for other in self._open if not other.closed), connection]
        if self._is_cut:
            hang_up(connection)
        prepare(connection, statement_seconds=self._statement_seconds)
        return connection

    def hang_up(self) -> None:
        """Ends every wait for the server's answer, with an error."""
        with self._guard:
            waiting = list(self._open)
        for connection in waiting:
            hang_up(connection)

    def cut(self) -> None:
        """Ends every wait for the server's answer, with an error, and lets nobody connect again."""
        self._is_cut = True
        self.hang_up()

    def close(self) -> None:
        """Closes all of them; nobody may be waiting any more."""
        with self._guard:
            for connection in self._open:
                connection.close()
