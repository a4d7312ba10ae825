"""A relay before a database, to make it silent, or to lose the answer to a commit."""

import socket
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Relay(socketserver.ThreadingTCPServer):
    """Stands before a database.

    With `is_flowing` cleared it keeps every connection and passes nothing on; with `is_tearing` set it passes the next
    commit on, and cuts the connection instead of passing on the answer.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def __init__(self, target: tuple[str, int]) -> None:
        """`target` is the database's host and port."""
        super().__init__(("127.0.0.1", 0), _Passage)
        self.target = target
        self.is_flowing = threading.Event()
        self.is_flowing.set()
        self.is_tearing = threading.Event()
        self._stranded: list[threading.Event] = []

    def strand(self) -> None:
        """Keeps the connections that there are, and passes nothing on in them any more; new ones flow."""
        self._stranded.append(self.is_flowing)
        self.is_flowing = threading.Event()
        self.is_flowing.set()
        self._stranded[-1].clear()

    def release(self) -> None:
        """Lets everything flow."""
        for is_flowing in (*self._stranded, self.is_flowing):
            is_flowing.set()


class _Passage(socketserver.BaseRequestHandler):
    is_torn = False

    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        relay, is_flowing = self.server, self.server.is_flowing
        with socket.create_connection(relay.target) as far:
            back = threading.Thread(target=self._pass, args=(relay, is_flowing, far, self.request), daemon=True)
            back.start()
            self._pass(relay, is_flowing, self.request, far)
            back.join()

    def _pass(self, relay: Relay, is_flowing: threading.Event, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                is_flowing.wait()
                if self.is_torn:
                    source.shutdown(socket.SHUT_RDWR)
                    break
                if relay.is_tearing.is_set() and source is self.request and b"COMMIT\0" in data:
                    relay.is_tearing.clear()
                    self.is_torn = True
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


@contextmanager
def relayed(url: str) -> Generator[tuple[Relay, str]]:
    """A relay before the database of this URL, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with Relay((parts.hostname, parts.port)) as relay:
        serving = threading.Thread(target=relay.serve_forever)
        serving.start()
        try:
            yield relay, url.replace(f":{parts.port}/", f":{relay.server_address[1]}/")
        finally:
            relay.release()
            relay.shutdown()
            serving.join()
