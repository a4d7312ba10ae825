"""Why there is no connection to PostgreSQL, in words of ours: its own name users, and its client repeats URLs.

libpq keeps the SQLSTATE of a refused connection to itself, so the message has to tell.
"""

import re
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import conninfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How PostgreSQL, or its client, says that there is no connection."""

    words: str
    """A pattern, found in the message in small letters."""
    found: str
    mend: str
    is_lasting: bool = False
    """Whether waiting cannot help: somebody has to change something."""


_REFUSALS: Final = (
    Refusal(
        words="authentication failed|no password supplied|pg_hba",
        found="it does not take this user and password",
        mend="correct the user and password in DATABASE_URL, or what pg_hba.conf allows",
        is_lasting=True,
    ),
    Refusal(
        words='database ".*" does not exist',
        found="it has no database of that name",
        mend="make it (createdb), or correct the name at the end of DATABASE_URL",
        is_lasting=True,
    ),
    Refusal(
        words='role ".*" does not exist',
        found="it has no user of that name",
        mend="make it (createuser), or correct the user in DATABASE_URL",
        is_lasting=True,
    ),
    Refusal(
        words="permission denied for database",
        found="this user may not connect to the database",
        mend="GRANT CONNECT ON DATABASE to the user",
        is_lasting=True,
    ),
    Refusal(
        words="too many (clients|connections)|connection slots",
        found="it has no connection left",
        mend="raise max_connections, or end sessions that nobody needs",
    ),
    Refusal(
        words="read-only|hot standby|not accepting writes",
        found="it takes no writes",
        mend="name the primary in DATABASE_URL, or all hosts with commas between them",
    ),
    Refusal(words="starting up|shutting down|recovery", found="it is starting or stopping", mend="wait a moment"),
    Refusal(
        words="response to ssl negotiation|support ssl|sslmode|certificate",
        found="there is no agreement on encryption",
        mend="correct sslmode in DATABASE_URL",
        is_lasting=True,
    ),
    Refusal(
        words="closed (the connection )?unexpectedly|unexpected eof|eof detected|connection reset",
        found="it breaks the connection off",
        mend="wait a moment if it is restarting, or see its log",
    ),
    Refusal(
        words="resolve|translate host|name or service not known",
        found="the name of its host is not known",
        mend="correct the host in DATABASE_URL",
    ),
    Refusal(
        words="refused|no such file",
        found="nothing listens there",
        mend="start PostgreSQL, or correct the host and port in DATABASE_URL",
    ),
    Refusal(
        words="timeout|timed out|unreachable|no route",
        found="it does not answer",
        mend="let a firewall pass its port, or correct the host in DATABASE_URL",
    ),
)
_OTHER: Final = Refusal(
    words="", found="there is no connection", mend="see what `psql` says with the same DATABASE_URL"
)


def refusal_of(error: psycopg.Error) -> Refusal:
    """What the error of a connection that was not made means."""
    text = str(error).lower()
    return next((one for one in _REFUSALS if re.search(one.words, text)), _OTHER)


def place_of(url: str) -> str | None:
    """Its host, and its port where the URL names one; None where PostgreSQL's client does not understand the URL."""
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return None
    host, port = str(parts.get("host") or parts.get("hostaddr") or "this machine"), parts.get("port")
    return f"{host}:{port}" if port else host
