"""Why there is no connection, as PostgreSQL's own client says it of servers that answer as it was told here."""

import socket
import threading

import psycopg
import pytest
from thinkpool_server.postgres.refusals import refusal_of

_QUESTION_BYTES = 8
"""What a client sends first, to ask for TLS."""


def refused_by(answer: bytes) -> psycopg.Error:
    """The client's error when the server's answer to the question for TLS is this, and then its end."""

    def serve() -> None:
        line, _ = listener.accept()
        with line:
            line.recv(_QUESTION_BYTES)
            line.sendall(answer)
            line.shutdown(socket.SHUT_WR)
            while line.recv(1024):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        url = f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/runs?sslmode=require&connect_timeout=5"
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(url)
        server.join()
    return caught.value


def test_a_server_that_breaks_off_while_tls_begins_is_waited_for() -> None:
    refusal = refusal_of(refused_by(b"S"))
    assert refusal.found == "it breaks the connection off"
    assert not refusal.is_lasting


def test_a_server_without_tls_is_not_waited_for() -> None:
    refusal = refusal_of(refused_by(b"N"))
    assert refusal.found == "there is no agreement on encryption"
    assert refusal.is_lasting


@pytest.mark.parametrize(
    ("told", "is_lasting"),
    [
        ("SSL connection has been closed unexpectedly", False),
        ("SSL error: unexpected eof while reading", False),
        ("SSL SYSCALL error: EOF detected", False),
        ("SSL SYSCALL error: Connection reset by peer", False),
        ("could not send SSL negotiation packet: Connection reset by peer", False),
        ("server closed the connection unexpectedly", False),
        ("server does not support SSL, but SSL was required", True),
        ("received invalid response to SSL negotiation: H", True),
        ("SSL error: certificate verify failed", True),
        ('server certificate for "db" does not match host name "other"', True),
        ('invalid sslmode value: "maybe"', True),
    ],
)
def test_what_a_restart_says_of_tls_is_not_lasting(told: str, is_lasting: bool) -> None:
    assert refusal_of(psycopg.OperationalError(f"connection failed: {told}")).is_lasting is is_lasting
