"""Which MCP servers there are: `mcp.json` as other clients know it, and what a deployment adds to it.

```json
{"mcpServers": {
  "files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv"], "shared": true},
  "issues": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}, "trusted": true}
}}
```
`${NAME}` and `${NAME:-default}` in `command`, `args`, `env`, `cwd`, `url` and `headers` come from the environment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from thinkpool_pipeline.errors import ConfigurationError

DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_TIMEOUT_SECONDS = 600.0
MAX_FILE_BYTES = 1024 * 1024

Transport: TypeAlias = Literal["stdio", "http"]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TRANSPORTS: dict[str, Transport] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """One server of the file; either `command` or `url` is set."""

    name: str
    """As in the file; printable, at most 128 characters."""
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """All the process gets of an environment, besides PATH, HOME and LANG."""
    cwd: str | None = None
    url: str = field(default="", repr=False)
    """http or https, with a host."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    is_shared: bool = False
    """One session for the whole process rather than one for each pipeline."""
    is_trusted: bool = False
    """Vouched for by the operator: its calls do not count as leaving the house, its words may name addresses."""
    allowed_tools: frozenset[str] | None = None
    """The server's own names; None for all."""
    denied_tools: frozenset[str] = frozenset()
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """Of one call."""

    @property
    def transport(self) -> Transport:
        """How it is reached."""
        return "http" if self.url else "stdio"

    def allows(self, remote_name: str) -> bool:
        """Whether the operator lets this tool, by the server's own name for it, be called."""
        is_allowed = self.allowed_tools is None or remote_name in self.allowed_tools
        return is_allowed and remote_name not in self.denied_tools


class _Entry(BaseModel):
    """A server as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: str | None = None
    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    shared: bool = False
    trusted: bool = False
    allowed_tools: list[str] | None = None
    denied_tools: list[str] = []
    timeout_seconds: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS, strict=False)] = DEFAULT_TIMEOUT_SECONDS
    disabled: bool = False
    description: str | None = None
    """For people; not used."""


class _File(BaseModel):
    model_config = ConfigDict(strict=True)

    mcpServers: dict[str, object]  # noqa: N815 -- the file's own spelling


_ENTRY: TypeAdapter[_Entry] = TypeAdapter(_Entry)


def load_mcp_servers(path: Path, environ: Mapping[str, str]) -> tuple[McpServer, ...]:
    """The servers of the file that are not disabled, in its order, with their variables filled in.

    Raises:
        ConfigurationError: says which server and field is wrong, never what stands there.

    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"The MCP file cannot be read ({type(error).__name__}).") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"The MCP file is larger than {MAX_FILE_BYTES} bytes.")
    try:
        entries = _File.model_validate_json(content).mcpServers
    except ValidationError:
        raise ConfigurationError('The MCP file is no JSON object with an object "mcpServers".') from None
    servers = (_server(name, entry, environ) for name, entry in entries.items())
    return tuple(server for server in servers if server is not None)


def _server(name: str, value: object, environ: Mapping[str, str]) -> McpServer | None:
    if not name.strip() or not name.isprintable() or len(name) > 128:
        raise ConfigurationError("An MCP server's name must be printable and at most 128 characters long.")
    try:
        entry = _ENTRY.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise _wrong(name, ".".join(map(str, first["loc"])) or "(all)", first["msg"]) from None
    if entry.disabled:
        return None
    fill = _Filler(name, environ)
    server = McpServer(
        name=name,
        command=fill.text("command", entry.command or ""),
        args=tuple(fill.text(f"args.{index}", value) for index, value in enumerate(entry.args)),
        env={key: fill.text(f"env.{key}", value) for key, value in entry.env.items()},
        cwd=fill.text("cwd", entry.cwd) if entry.cwd else None,
        url=fill.text("url", entry.url or ""),
        headers={key: fill.text(f"headers.{key}", value) for key, value in entry.headers.items()},
        is_shared=entry.shared,
        is_trusted=entry.trusted,
        allowed_tools=None if entry.allowed_tools is None else frozenset(entry.allowed_tools),
        denied_tools=frozenset(entry.denied_tools),
        timeout_seconds=entry.timeout_seconds,
    )
    _check_transport(server, entry.type)
    _check_process(server)
    _check_http(server)
    return server


class _Filler:
    """Puts variables in their places, for one server."""

    def __init__(self, server: str, environ: Mapping[str, str]) -> None:
        self._server = server
        self._environ = environ

    def text(self, where: str, text: str) -> str:
        """The text with its variables' values.

        Raises:
            ConfigurationError: a variable is not set, and has no default.

        """

        def value(match: re.Match[str]) -> str:
            found = self._environ.get(match[1], cast("str | None", match[2]))
            if found is None:
                raise _wrong(self._server, where, f"the environment has no variable {match[1]}")
            return found

        return _VARIABLE.sub(value, text)


def _check_transport(server: McpServer, kind: str | None) -> None:
    if bool(server.command) == bool(server.url):
        raise _wrong(server.name, "command", "there must be either a command or a url")
    if kind is None:
        return
    transport = _TRANSPORTS.get(kind)
    if transport is None:
        raise _wrong(server.name, "type", "must be stdio or http; the older SSE transport is not supported")
    if transport != server.transport:
        raise _wrong(server.name, "type", f"does not fit a {'url' if server.url else 'command'}")


def _check_process(server: McpServer) -> None:
    texts = {"command": server.command, "cwd": server.cwd or ""}
    texts |= {f"args.{index}": value for index, value in enumerate(server.args)}
    texts |= {f"env.{key}": key + value for key, value in server.env.items()}
    for where, text in texts.items():
        if "\0" in text:
            raise _wrong(server.name, where, "must hold no NUL")
    for key in server.env:
        if not key or "=" in key:
            raise _wrong(server.name, f"env.{key}", "is no name of a variable")


def _check_http(server: McpServer) -> None:
    if server.url and not _is_http(server.url):
        raise _wrong(server.name, "url", "must be an http or https URL with a host")
    for key, value in server.headers.items():
        if not _HEADER_NAME.fullmatch(key):
            raise _wrong(server.name, f"headers.{key}", "is no name of a header")
        if not (value.isascii() and value.isprintable()):
            raise _wrong(server.name, f"headers.{key}", "must be printable ASCII")


def _is_http(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _wrong(server: str, where: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"The MCP file's server {server!r}: {where}: {what}.")
