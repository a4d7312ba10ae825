"""Loopback ports for servers that come back to the same one."""

import random
import socket
from typing import Final

_BELOW_EPHEMERAL: Final = range(12_000, 32_000)
"""Below what systems hand out by themselves (Linux from 32768, others from 49152): nobody takes one by chance."""


def lasting_port() -> int:
    """A free port that stays free while its server is down, as far as chance goes."""
    while True:
        port = random.choice(_BELOW_EPHEMERAL)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
