"""The simulated SearXNG: its format, its refusals, and contents that follow from the question."""

import aiohttp
import pytest
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream
from thinkpool_pipeline.testing.upstream.world import search_results

SEARCH = "/searxng/search"


@pytest.mark.parametrize("page", [1, 2])
async def test_a_search_gives_ten_results_of_the_query(client: aiohttp.ClientSession, page: int) -> None:
    async with client.get(SEARCH, params={"q": "old piers", "format": "json", "pageno": page}) as reply:
        found = await reply.json()

    expected = search_results("old piers", page)
    assert [result["url"] for result in found["results"]] == [result.url for result in expected]
    assert [result["positions"] for result in found["results"]] == [[result.position] for result in expected]
    assert (found["query"], found["unresponsive_engines"]) == ("old piers", [])


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"q": "x"}, 403),
        ({"q": "x", "format": "csv"}, 403),
        ({"q": "", "format": "json"}, 400),
        ({"q": "x", "format": "json", "pageno": "0"}, 400),
        ({"q": "x", "format": "json", "pageno": "first"}, 400),
    ],
)
async def test_other_formats_and_searches_without_sense_are_refused(
    client: aiohttp.ClientSession, parameters: dict[str, str], status: int
) -> None:
    async with client.get(SEARCH, params=parameters) as reply:
        assert reply.status == status


async def test_it_has_faults_of_its_own(client: aiohttp.ClientSession, upstream: SimulatedUpstream) -> None:
    upstream.faults.add(Fault(kind="status", endpoint="searxng", status=502, times=1))
    statuses: list[int] = []
    for _ in range(2):
        async with client.get(SEARCH, params={"q": "x", "format": "json"}) as reply:
            statuses.append(reply.status)

    assert statuses == [502, 200]
    assert [entry.outcome for entry in upstream.ledger.of("searxng")] == ["fault", "completed"]
