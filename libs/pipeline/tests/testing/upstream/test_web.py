"""The simulated search and reader: Serper's and Jina's formats, and contents that follow from the question."""

import aiohttp
import pytest
from thinkpool_pipeline.testing.upstream import SimulatedUpstream
from thinkpool_pipeline.testing.upstream.world import SENTENCE, page_text, result_url, search_results

KEY = {"X-API-KEY": "serper-1"}


async def test_a_search_gives_ten_results_of_the_query(client: aiohttp.ClientSession) -> None:
    async with client.post("/search", json={"q": "old piers"}, headers=KEY) as reply:
        found = await reply.json()

    assert [result["position"] for result in found["organic"]] == list(range(1, 11))
    assert found["organic"][0]["link"] == result_url("old piers", 1)
    assert found["searchParameters"]["q"] == "old piers"


async def test_the_second_page_goes_on_where_the_first_ended(client: aiohttp.ClientSession) -> None:
    async with client.post("/search", json={"q": "old piers", "page": 2}, headers=KEY) as reply:
        found = await reply.json()

    assert found["organic"][0]["position"] == 11


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [({}, b'{"q": "x"}', 403), (KEY, b'{"q": ""}', 400), (KEY, b"nonsense", 400), (KEY, b'{"q": 5}', 400)],
)
async def test_a_search_without_key_or_query_is_refused(
    client: aiohttp.ClientSession, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with client.post("/search", data=body, headers=headers) as reply:
        assert reply.status == status


async def test_a_page_is_given_as_json_or_text(client: aiohttp.ClientSession, upstream: SimulatedUpstream) -> None:
    url = result_url("old piers", 1) + "?part=1&x=%20"
    async with client.get(f"/reader/{url}", headers={"Accept": "application/json"}) as reply:
        page = (await reply.json())["data"]
    async with client.get(f"/reader/{url}") as reply:
        text = await reply.text()

    assert page["url"] == url
    assert page["content"] in text
    assert text.startswith(f"Title: {page['title']}\n\nURL Source: {url}\n")
    assert [entry.subject for entry in upstream.ledger.of("reader")] == [url, url]


def test_a_page_holds_distinct_sentences_up_to_its_size() -> None:
    text = page_text(result_url("old piers", 3), 20_000)

    sentences = SENTENCE.findall(text)
    assert 19_700 < len(text) <= 20_000
    assert len(set(sentences)) == len(sentences) > 100
    assert " ".join(sentences).split() == text.split()


def test_different_queries_find_different_pages() -> None:
    queries = ("old piers", "Old Piers", "老码头", "旧码头", "old piers?")
    addresses = {result.url for query in queries for result in search_results(query)}

    assert len(addresses) == 50


def test_a_snippet_is_its_pages_first_sentence() -> None:
    result = search_results("old piers")[4]

    assert page_text(result.url, 20_000).startswith(result.snippet)


def test_a_page_without_a_path_has_a_subject() -> None:
    assert page_text("https://www.example.org", 500).startswith("Record 0001 of home: ")
