import socket

import pytest
from thinkpool_server.cli.serving import listening_socket, reachable_url


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "start"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("localhost", "http://"),
        ("0.0.0.0", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
        ("::", "http://[::1]:"),
    ],
)
def test_free_port_is_taken_and_its_url_is_one_that_this_machine_reaches(host, start):
    if ":" in host and not has_ipv6():
        pytest.skip("there is no IPv6 on this machine")
    with listening_socket(host, 0, untaken_seconds=30) as listener:
        url = reachable_url(listener)
    assert url.startswith(start)
    assert int(url.rpartition(":")[2]) > 0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
def test_connections_end_when_what_was_sent_is_not_taken() -> None:
    with (
        listening_socket("127.0.0.1", 0, untaken_seconds=1.5) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
