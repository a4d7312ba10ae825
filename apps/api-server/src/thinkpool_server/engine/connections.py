"""Connections to PostgreSQL for threads that may have to be left: one that waits for an answer can be cut."""

import os
import socket
import threading
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import psycopg

from thinkpool_server.postgres import connect

PURPOSE: Final = "run queue"


class CuttableConnections:
    """Opens connections until they are cut."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: WeakSet[psycopg.Connection[Any]] = WeakSet()
        self._guard = threading.Lock()  # over the set, which threads add to
        self._is_cut = False

    def __repr__(self) -> str:
        return f"<CuttableConnections [{len(self._open)} open]>"

    def open(self) -> "psycopg.Connection[Any]":
        """A new one, with transactions.

        Raises:
            psycopg.OperationalError: the server cannot be reached, or refuses, or connections have been cut.

        """
        if self._is_cut:
            raise psycopg.OperationalError("connections have been cut")
        connection = connect(self._url, purpose=PURPOSE)
        connection.autocommit = False
        with self._guard:
            self._open.add(connection)
        return connection

    def cut(self) -> None:
        """Ends every wait for the server's answer, with an error, and lets nobody connect again."""
        self._is_cut = True
        with self._guard:
            waiting = list(self._open)
        for connection in waiting:
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
