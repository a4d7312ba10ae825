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
    with listening_socket(host, 0) as listener:
        url = reachable_url(listener)
    assert url.startswith(start)
    assert int(url.rpartition(":")[2]) > 0
