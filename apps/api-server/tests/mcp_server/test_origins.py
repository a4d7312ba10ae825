import pytest
from thinkpool_server.mcp_server.origins import is_trusted
from thinkpool_server.settings import Settings
from thinkpool_server.testing.serving import served

OPEN: dict[str, object] = {}
KEYED: dict[str, object] = {"server_api_keys": "team:team-key"}
WIDE: dict[str, object] = {"host": "0.0.0.0", "allow_open": True}
CORS: dict[str, object] = {"cors_origins": "https://chat.example"}
ANY: dict[str, object] = {"cors_origins": "*"}


def trusted(settings: dict[str, object], host: str | None, *origins: str) -> bool:
    headers = [(b"origin", origin.encode("latin-1")) for origin in origins]
    if host is not None:
        headers.append((b"host", host.encode("latin-1")))
    return is_trusted(Settings.model_validate(settings), headers)


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        (OPEN, "127.0.0.1:8000", "http://127.0.0.1:8000"),
        (OPEN, "localhost:8000", "http://localhost:8000"),
        (OPEN, "[::1]:8000", "http://[::1]:8000"),
        (OPEN, "app.localhost", "http://app.localhost"),
        (OPEN | CORS, "127.0.0.1:8000", "https://chat.example"),
        (OPEN | ANY, "127.0.0.1:8000", "https://anything.example"),
        (WIDE, "192.168.1.7:8000", "http://192.168.1.7:8000"),
        (KEYED, "research.example", "https://research.example"),
        (KEYED, "Research.example", "https://research.EXAMPLE"),
        (KEYED | CORS, "research.example", "https://chat.example"),
    ],
)
def test_own_pages_and_named_origins_are_trusted(settings: dict[str, object], host: str, origin: str) -> None:
    assert trusted(settings, host, origin)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "10.1.2.3"])
def test_programs_send_no_origin(host: str) -> None:
    assert trusted(OPEN, host)


def test_programs_may_call_a_server_that_others_reach_by_any_name() -> None:
    assert trusted(WIDE, "thinkpool.internal:8000")
    assert trusted(KEYED, "research.example")


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        (OPEN, "evil.example:8000", "http://evil.example:8000"),  # the name has come to mean this machine
        (OPEN | ANY, "evil.example:8000", "http://evil.example:8000"),
        (WIDE, "evil.example:8000", "http://evil.example:8000"),
        (OPEN, "127.0.0.1:8000", "http://evil.example"),
        (OPEN, "127.0.0.1:8000", "http://127.0.0.1:9000"),
        (OPEN, "127.0.0.1:8000", "null"),
        (OPEN, "127.0.0.1:8000", "file://127.0.0.1:8000"),
        (OPEN, "127.0.0.1.evil.example", "http://127.0.0.1.evil.example"),
        (OPEN, "localhost.evil.example", "http://localhost.evil.example"),
        (OPEN, "127.0.0.1:8000", "http://user@127.0.0.1:8000"),
        (OPEN, "127.0.0.1:8000", "http://[::1"),
        (OPEN, "[::1", "http://[::1"),
        (OPEN, "evil.example@127.0.0.1", "http://evil.example"),
        (KEYED, "research.example", "https://evil.example"),
        (KEYED, "research.example", "null"),
    ],
)
def test_other_people_s_pages_are_not(settings: dict[str, object], host: str, origin: str) -> None:
    assert not trusted(settings, host, origin)


def test_a_private_server_is_not_called_by_a_name_that_may_change() -> None:
    assert not trusted(OPEN, "evil.example")
    assert not trusted(OPEN, "")
    assert not trusted(OPEN, None)


def test_headers_that_come_twice_are_not_believed() -> None:
    assert not trusted(OPEN, "127.0.0.1", "http://127.0.0.1", "http://evil.example")


async def test_the_endpoint_refuses_them_before_it_reads_the_message() -> None:
    async with served() as http:
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            answer = await http.client.post("/mcp", content=b"{", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "evil" not in answer.text
