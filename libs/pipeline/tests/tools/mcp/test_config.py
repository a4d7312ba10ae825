import json
from pathlib import Path

import pytest
from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.tools.mcp import McpServer, load_mcp_servers
from thinkpool_pipeline.tools.mcp.config import MAX_FILE_BYTES


def write(path: Path, servers: object) -> Path:
    file = path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return file


def load(path: Path, servers: object, **environ: str) -> tuple[McpServer, ...]:
    return load_mcp_servers(write(path, servers), environ)


def refusal(path: Path, entry: object, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path, {"files": entry}, **environ)
    return caught.value.message


def test_process_and_url_are_read_with_what_we_add(tmp_path: Path) -> None:
    files, issues = load(
        tmp_path,
        {
            "files": {"command": "npx", "args": ["-y", "files"], "env": {"A": "1"}, "cwd": "/srv", "shared": True},
            "issues": {
                "type": "streamable-http",
                "url": "https://example.com/mcp?a=b",
                "headers": {"Authorization": "Bearer x"},
                "trusted": True,
                "allowed_tools": ["read", "write"],
                "denied_tools": ["write"],
                "timeout_seconds": 5,
                "description": "For people.",
            },
        },
    )
    assert files == McpServer(
        name="files", command="npx", args=("-y", "files"), env={"A": "1"}, cwd="/srv", is_shared=True
    )
    assert (files.transport, issues.transport) == ("stdio", "http")
    assert issues.headers == {"Authorization": "Bearer x"}
    assert issues.is_trusted
    assert not issues.is_shared
    assert issues.timeout_seconds == 5
    assert [issues.allows(name) for name in ("read", "write", "drop")] == [True, False, False]
    assert files.allows("anything")


def test_variables_come_from_the_environment_or_from_their_default(tmp_path: Path) -> None:
    (server,) = load(
        tmp_path,
        {
            "s": {
                "command": "${HOME_DIR}/run",
                "args": ["--key=${KEY}", "${NONE:-plain}", "${EMPTY:-}", "$KEY ${KEY:-other}"],
                "env": {"TOKEN": "${KEY}${KEY}"},
                "cwd": "${HOME_DIR}",
            }
        },
        KEY="k1",
        HOME_DIR="/home/x",
    )
    assert server.command == "/home/x/run"
    assert server.args == ("--key=k1", "plain", "", "$KEY k1")
    assert server.env == {"TOKEN": "k1k1"}
    assert server.cwd == "/home/x"
    (far,) = load(tmp_path, {"s": {"url": "http://h/${KEY}", "headers": {"X": "${KEY}"}}}, KEY="k1")
    assert (far.url, far.headers) == ("http://h/k1", {"X": "k1"})


def test_disabled_servers_are_left_out_whatever_they_lack(tmp_path: Path) -> None:
    assert load(tmp_path, {"off": {"command": "${GONE}", "disabled": True}}) == ()


@pytest.mark.parametrize("where", ["env", "headers", "args", "url"])
def test_missing_variable_is_named_with_its_server_and_field(tmp_path: Path, where: str) -> None:
    entry = {
        "env": {"command": "x", "env": {"T": "sk-1${GONE}"}},
        "headers": {"url": "http://h", "headers": {"T": "sk-1${GONE}"}},
        "args": {"command": "x", "args": ["sk-1${GONE}"]},
        "url": {"url": "http://h/sk-1${GONE}"},
    }[where]
    message = refusal(tmp_path, entry)
    assert "'files'" in message
    assert where in message
    assert "GONE" in message
    assert "sk-1" not in message


SECRET = "sk-very-secret"


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({}, "command"),
        ({"command": SECRET, "url": f"http://{SECRET}"}, "command"),
        ({"command": 7}, "command"),
        ({"command": "x", "args": SECRET}, "args"),
        ({"command": "x", "args": [1]}, "args.0"),
        ({"command": "x", "env": {"A": 1}}, "env.A"),
        ({"command": "x", "env": {"A=B": SECRET}}, "env.A=B"),
        ({"command": "x", "env": {"": SECRET}}, "env."),
        ({"command": "x", "env": {"A": f"{SECRET}\0"}}, "env.A"),
        ({"command": "x\0"}, "command"),
        ({"command": "x", "args": [f"{SECRET}\0"]}, "args.0"),
        ({"command": "x", "cwd": f"{SECRET}\0"}, "cwd"),
        ({"command": "x", "deniedTools": [SECRET]}, "deniedTools"),
        ({"command": "x", "shared": SECRET}, "shared"),
        ({"command": "x", "timeout_seconds": 0}, "timeout_seconds"),
        ({"command": "x", "timeout_seconds": 601}, "timeout_seconds"),
        ({"command": "x", "type": "http"}, "type"),
        ({"command": "x", "type": SECRET}, "type"),
        ({"url": "http://h", "type": "sse"}, "type"),
        ({"url": f"ftp://{SECRET}"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": f"http://h:99999/{SECRET}"}, "url"),
        ({"url": f"http://h/{SECRET} x"}, "url"),
        ({"url": f"http://h/{SECRET}é"}, "url"),
        ({"url": "http://h", "headers": {"A B": SECRET}}, "headers.A B"),
        ({"url": "http://h", "headers": {"A": f"{SECRET}\r\nB: c"}}, "headers.A"),
        (SECRET, "(all)"),
    ],
)
def test_wrong_entries_are_refused_by_server_and_field_and_never_by_value(
    tmp_path: Path, entry: object, named: str
) -> None:
    message = refusal(tmp_path, entry)
    assert f"server 'files': {named}: " in message
    assert SECRET not in message


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 129])
def test_names_must_be_fit_to_be_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="printable"):
        load(tmp_path, {name: {"command": "x"}})


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"mcpServers": []}', b"{", b"\xff", b'{"mcpServers": "s"}'])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mcp.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="mcpServers"):
        load_mcp_servers(file, {})


def test_missing_and_oversized_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        load_mcp_servers(tmp_path / "none.json", {})
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigurationError, match="larger"):
        load_mcp_servers(large, {})


def test_representation_shows_no_secret(tmp_path: Path) -> None:
    (near,) = load(tmp_path, {"s": {"command": "x", "args": [SECRET], "env": {"T": SECRET}}})
    (far,) = load(tmp_path, {"s": {"url": f"http://h/{SECRET}", "headers": {"T": SECRET}}})
    assert SECRET not in repr(near) + repr(far)
