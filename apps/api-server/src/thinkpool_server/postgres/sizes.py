"""How many connections one replica holds to PostgreSQL. The pools take their sizes from here.

Each use names itself in `pg_stat_activity`: `application_name` is `thinkpool` and the use.
"""

from collections.abc import Mapping
from typing import Final

RUN_QUEUE_CONNECTIONS: Final = 5
READER_CONNECTIONS: Final = 2

CONNECTIONS: Final[Mapping[str, int]] = {
    "run queue": RUN_QUEUE_CONNECTIONS,
    "reader": READER_CONNECTIONS,
    "event log": 1,
    "membership": 1,
    "listener": 1,
    "limits": 1,
    "results": 1,
}
"""The most of each use."""

CONNECTIONS_PER_REPLICA: Final = sum(CONNECTIONS.values())
"""The most of a replica that has started; a start needs no more."""
