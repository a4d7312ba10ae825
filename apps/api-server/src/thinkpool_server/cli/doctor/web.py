"""The ways to the web: that search services and page readers can be reached, without asking what costs."""

from collections.abc import Sequence
from typing import Final

from thinkpool_pipeline.outward import open_outward
from thinkpool_pipeline.tools.web_search import KEYLESS_UPSTREAM, open_keyless_search, own_first_stop

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.cli.doctor.http_probe import Silence, ask, connect, open_client

SEARCH: Final = "web search"
READER: Final = "page reader"

_REACHED = "can be reached; its key is not tried, since each use is paid for"
_JSON_FORBIDDEN = 403
_NO_QUERY = 400


async def examine_search(subject: Subject) -> Sequence[Finding]:
    """Every search service that is set up, or the search that needs no key."""
    settings = subject.settings
    if not settings.web_access:
        return [ok(SEARCH, "off: runs use the documents here")]
    found: list[Finding] = []
    if settings.has_serper:
        found.append(await _paid(SEARCH, "Serper", settings.serper_base_url, "SERPER_BASE_URL"))
    if settings.searxng_url is not None:
        found.append(await _searxng(settings.searxng_url))
    return found or [await _keyless()]


async def examine_reader(subject: Subject) -> Sequence[Finding]:
    """Jina Reader."""
    return [await _paid(READER, "Jina Reader", subject.settings.jina_base_url, "JINA_BASE_URL")]


async def _paid(check: str, name: str, url: str, variable: str) -> Finding:
    silence = await connect(url)
    if silence is None:
        return ok(check, f"{name} {_REACHED}")
    return problem(check, f"{name} at {url}: {silence.reason}", mend=_mend(variable))


async def _searxng(url: str) -> Finding:
    """A search for nothing is refused at once, and how it is refused tells whether it gives JSON.

    Source: https://docs.searxng.org/admin/settings/settings_search.html, `formats`
    """
    async with open_client() as client:
        answer = await ask(client, f"{url}/search?format=json")
    if isinstance(answer, Silence):
        return problem(SEARCH, f"SearXNG at {url}: {answer.reason}", mend=_mend("SEARXNG_URL"))
    if answer.status == _JSON_FORBIDDEN:
        return problem(
            SEARCH, f"SearXNG at {url} gives no JSON (403)", mend="add json to search.formats in its settings.yml"
        )
    if answer.status not in (200, _NO_QUERY):
        return warning(SEARCH, f"SearXNG at {url} answers oddly ({answer.status})", mend="see its logs")
    return ok(SEARCH, f"SearXNG at {url} answers")


async def _keyless() -> Finding:
    async with (
        open_outward() as outward,
        open_keyless_search(outward.upstream("duckduckgo", KEYLESS_UPSTREAM)) as search,
    ):
        await search.settled()
        if search.is_reachable:
            return ok(SEARCH, "without a key, at public engines, which can be reached")
        host, port = own_first_stop()
        return ok(
            SEARCH, f"none: {host}:{port} cannot be reached, and no service is set up; runs use the documents here"
        )


def _mend(variable: str) -> str:
    return f"start it, correct {variable}, or see what keeps this machine from reaching it"
