import itertools

import pytest
from pydantic import SecretStr
from thinkpool_server import auth
from thinkpool_server.auth import KeyRing
from thinkpool_server.setting_values import ServerKey
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import completed_run
from thinkpool_server.testing.serving import served

KEYS = "alice:key-of-alice,bob:key-of-bob"
ALICE = {"Authorization": "Bearer key-of-alice"}
BOB = {"X-API-Key": "key-of-bob"}

REFUSED: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer key-of-alic"},
    {"Authorization": "Bearer key-of-alice2"},
    {"Authorization": "Bearer KEY-OF-ALICE"},
    {"Authorization": "Bearer alice"},
    {"Authorization": "Basic key-of-alice"},
    {"Authorization": "key-of-alice"},
    {"X-API-Key": ""},
    {"X-API-Key": "key-of-b"},
    {"X-API-Key": "x" * 5000},
]


async def test_every_refusal_is_the_same() -> None:
    async with served(server_api_keys=KEYS) as http:
        answers = [await http.client.get("/v1/research", headers=headers) for headers in REFUSED]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1
        assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Bearer realm="thinkpool"'}
        assert all("key-of" not in str(answer.headers) + answer.text for answer in answers)


async def test_a_key_is_a_bearer_token_or_a_header_of_its_own() -> None:
    async with served(server_api_keys=KEYS) as http:
        for headers in (ALICE, BOB, {"authorization": "bEaReR  key-of-bob"}):
            assert (await http.client.get("/v1/research", headers=headers)).status_code == 200


async def test_a_body_is_not_read_without_a_key() -> None:
    async with served(server_api_keys=KEYS) as http:
        for path in ("/v1/research", "/v1/chat/completions"):
            assert (await http.client.post(path, content=b"{nonsense")).status_code == 401


async def test_probes_and_scrapers_need_no_key() -> None:
    async with served(server_api_keys=KEYS) as http:
        for path in ("/health", "/ready", "/metrics", "/openapi.json"):
            assert (await http.client.get(path)).status_code == 200


async def test_another_tenants_run_looks_like_none_at_all() -> None:
    async with served(MemoryRunService(completed_run()), server_api_keys=KEYS) as http:
        made = await http.client.post("/v1/research", json={"query": "a"}, headers=ALICE)
        own = made.json()["id"]
        assert (await http.client.get(f"/v1/research/{own}", headers=ALICE)).status_code == 200
        for method, part, accept in itertools.product(
            ("GET", "POST", "DELETE"), ("", "/events", "/report", "/cancel"), ("*/*", "text/event-stream")
        ):
            answers = [
                await http.client.request(method, f"/v1/research/{run}{part}", headers={**BOB, "Accept": accept})
                for run in (own, "run-9999")
            ]
            assert {answer.status_code for answer in answers} <= {404, 405}
            assert answers[0].content == answers[1].content
        assert (await http.client.get("/v1/research", headers=BOB)).json()["runs"] == []
        assert http.service.runs[own].record.status == "completed"


async def test_the_keys_name_is_the_tenant() -> None:
    async with served(server_api_keys=KEYS) as http:
        await http.client.post("/v1/research", json={"query": "a"}, headers=BOB)
        assert http.service.submissions[0].tenant == "bob"


def test_every_key_is_compared_whichever_fits_and_whatever_is_sent() -> None:
    compared: list[int] = []
    ring = KeyRing(ServerKey(f"t{number}", SecretStr(f"key-number-{number}")) for number in range(4))
    digests = ring._tenants

    class Counted(tuple):
        def __iter__(self):
            for item in super().__iter__():
                compared.append(len(item[0]))
                yield item

    ring._tenants = Counted(digests)
    for presented in (b"", b"k", b"key-number-0", b"key-number-3", b"x" * 10_000):
        compared.clear()
        ring.tenant_of(presented)
        assert compared == [32] * 4


def test_the_comparison_is_the_one_that_takes_constant_time() -> None:
    assert {"hmac", "compare_digest"} <= set(auth.KeyRing.tenant_of.__code__.co_names)


@pytest.mark.parametrize("presented", [None, b"", b"anything"])
def test_an_open_server_knows_one_tenant(presented: bytes | None) -> None:
    assert KeyRing(()).tenant_of(presented) == "default"
