"""Logs: one JSON object a line, on standard error, with the run's and the request's id where there is one.

Secrets are cut out of the finished line, wherever they came from: a field, a message, a traceback, a library.
"""

import logging
import re
import sys
from collections.abc import Iterable
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from thinkpool_server.settings import Settings

REDACTED = "[redacted]"

_SHORTEST_SECRET = 4  # what is shorter is no secret, such as the key of a local model
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_KEY_FIELDS = frozenset({"api_key", "authorization", "x-api-key", "cookie", "password", "token", "secret"})
_CONTENT_FIELDS = frozenset({"question", "query", "report", "content", "text", "arguments", "snippet", "messages"})
_LIBRARY_LEVELS = {
    "dbos": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,  # names every URL, keys in it included
    "mcp": logging.CRITICAL,  # what it logs, words of servers' in it, comes to us as an error, too
    "client": logging.CRITICAL,  # of the same library
    "sse_starlette": logging.INFO,
}

# Before `dbos` is imported: it installs a handler of its own on a logger that has none.
logging.getLogger("dbos").addHandler(logging.NullHandler())


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Sends everything, ours and the libraries', to `stream` as JSON lines."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_RedactingFormatter(settings.secrets, shared, is_content_logged=settings.log_content))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:-1],
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def redacted(line: str, secrets: Iterable[str]) -> str:
    """The line without these secrets, and without whatever else looks like credentials."""
    for secret in secrets:
        if len(secret) < _SHORTEST_SECRET:
            continue
        line = line.replace(secret, REDACTED).replace(orjson.dumps(secret).decode()[1:-1], REDACTED)
    return _BEARER.sub(REDACTED, line)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """The sink: every line passes here last."""

    def __init__(self, secrets: frozenset[str], shared: list[Processor], *, is_content_logged: bool) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)  # a key that is part of another goes last
        hidden = _KEY_FIELDS if is_content_logged else _KEY_FIELDS | _CONTENT_FIELDS

        def hide_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
            for name in event.keys() & hidden:
                event[name] = REDACTED
            event.pop("color_message", None)  # uvicorn's, for terminals
            return event

        super().__init__(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                hide_fields,
                structlog.processors.JSONRenderer(_to_json),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return redacted(super().format(record), self._secrets)


def _to_json(event: EventDict, **_: object) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:  # a lone surrogate, or a key that is no string
        return orjson.dumps({"event": ascii(event), "level": str(event.get("level"))}).decode()
