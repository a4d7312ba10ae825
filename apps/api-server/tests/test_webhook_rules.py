import base64
import json

import pytest
from pydantic import SecretStr
from thinkpool_pipeline.testing.forbidden_addresses import forbidden_urls
from thinkpool_server.errors import InvalidField, UnsupportedField
from thinkpool_server.runs import Tenant
from thinkpool_server.setting_values import WebhookSecret
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import completed_run
from thinkpool_server.testing.serving import served
from thinkpool_server.webhook_rules import WebhookRules

ADA, BOB = Tenant("ada"), Tenant("bob")
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
GOOD = "https://hooks.example.org/in?to=me"
ROUTES = {
    "/v1/research": {"query": "Why?"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Why?"}]},
    "/v2/chat/completions": {"messages": [{"role": "user", "content": "Why?"}]},
    "/v1/responses": {"input": "Why?"},
    "/v1/research/ui-stream": {
        "id": "chat",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "Why?"}]}],
    },
}


def rules(*hosts: str, **secrets: str) -> WebhookRules:
    keys = [WebhookSecret(None if name == "all" else name, SecretStr(secret)) for name, secret in secrets.items()]
    return WebhookRules(secrets=keys, hosts=hosts)


def test_a_tenant_with_a_secret_of_its_own_has_no_part_in_the_others() -> None:
    own = "whsec_" + base64.b64encode(b"o" * 24).decode()
    shared = rules(all=SECRET, ada=own)
    assert (shared.keys_for(ADA), shared.keys_for(BOB)) == ([b"o" * 24], [b"s" * 32])
    assert rules(ada=own).keys_for(BOB) == []


def test_an_address_of_the_public_internet_may_be_named() -> None:
    for url in (GOOD, "http://example.org", "https://93.184.216.34:443/x", "https://EXAMPLE.org/ä"):
        rules(all=SECRET).check("webhook_url", url, ADA)


@pytest.mark.parametrize(
    "url",
    [
        *forbidden_urls(80),
        "https://user:pw@example.org/",
        "https://example.org:8443/",
        "ftp://example.org/",
        "//example.org/",
        "example.org",
        "https://",
        "https://exa mple.org/",
        "https://example.org/\ud800",
        "https://example.org/\r\nhost: other",
        "https://\udfff/",
        "https://example.org:99999/",
    ],
)
def test_any_other_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        rules("10.0.0.1:9000", all=SECRET).check("webhook_url", url, ADA)
    assert refusal.value.field == "webhook_url"
    assert refusal.value.message.startswith("The address is not allowed: ")
    assert "example" not in refusal.value.message


def test_a_listed_host_may_be_anywhere_on_its_port_alone() -> None:
    listed = rules("hooks.internal", "127.0.0.1:9000", "[::1]:9000", all=SECRET)
    for url in (
        "http://hooks.internal:8123/x",
        "https://HOOKS.internal",
        "http://127.0.0.1:9000/",
        "http://[::1]:9000",
    ):
        assert listed.is_listed(url)
        listed.check("webhook_url", url, ADA)
    for url in (
        "http://127.0.0.1/",
        "http://127.0.0.1:9001/",
        "http://a.hooks.internal/",
        "http://hooks.internal.example.org/",
        "http://u@127.0.0.1:9000/",
        "ftp://hooks.internal/",
        "http://127.0.0.1:9000@example.org/",
        "http://hooks.internal\\@example.org/",
    ):
        assert not listed.is_listed(url), url


@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_that_makes_runs_takes_a_webhook(path: str) -> None:
    service = MemoryRunService(completed_run())
    async with served(service, webhook_secrets=SECRET) as http:
        assert (await http.client.post(path, json=ROUTES[path])).is_success
        taken = await http.client.post(path, json={**ROUTES[path], "webhook_url": GOOD})
        assert taken.is_success
        assert "hooks.example" not in taken.text + str(taken.headers)
        for link in (
            "/v1/research",
            "/v1/research/run-0002",
            "/v1/research/run-0002/events",
            "/v1/responses/resp-0002",
        ):
            assert "hooks.example" not in (await http.client.get(link)).text
    first, second = service.submissions
    assert (first.webhook_url, second.webhook_url) == (None, GOOD)
    assert "hooks.example" not in repr(second)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "url",
    [
        "http://canary.local/",
        "https://canary:canary@example.org/",
        "https://example.org/canary\0",
        7,
        ["canary"],
        "",
        "https://example.org/" + "canary" * 400,
    ],
)
async def test_a_wrong_webhook_is_refused_by_name_with_no_echo(path: str, url: object) -> None:
    async with served(MemoryRunService(completed_run()), webhook_secrets=SECRET) as http:
        refused = await http.client.post(path, json={**ROUTES[path], "webhook_url": url})
        assert refused.status_code in (400, 422)
        assert "webhook_url" in json.dumps(refused.json())
        assert "canary" not in refused.text
        assert not http.service.submissions


async def test_a_server_without_secrets_says_that_it_sends_none() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        refused = await http.client.post("/v1/research", json={"query": "Why?", "webhook_url": GOOD})
        assert (refused.status_code, refused.json()["code"]) == (422, UnsupportedField.code)
        assert refused.json()["errors"][0]["field"] == "webhook_url"


async def test_a_response_that_is_not_stored_has_no_webhook() -> None:
    async with served(MemoryRunService(completed_run()), webhook_secrets=SECRET) as http:
        refused = await http.client.post("/v1/responses", json={"input": "Why?", "store": False, "webhook_url": GOOD})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "webhook_url")
