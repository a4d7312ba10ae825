"""The tool `web_search`, and the services it asks: Serper, SearXNG, and public search engines without a key."""

from thinkpool_pipeline.tools.web_search.duckduckgo import KEYLESS_UPSTREAM, DuckDuckGo, KeylessSettings
from thinkpool_pipeline.tools.web_search.keyless import KeylessSearch, open_keyless_search, own_first_stop
from thinkpool_pipeline.tools.web_search.provider import EnginesSilent, Found, Search, SearchProvider
from thinkpool_pipeline.tools.web_search.reachability import Probe, Reachability, reach_by_tcp
from thinkpool_pipeline.tools.web_search.searxng import SearXNG, SearXNGSettings
from thinkpool_pipeline.tools.web_search.serper import Serper, SerperSettings
from thinkpool_pipeline.tools.web_search.tool import WebSearch, WebSearchSettings

__all__ = [
    "KEYLESS_UPSTREAM",
    "DuckDuckGo",
    "EnginesSilent",
    "Found",
    "KeylessSearch",
    "KeylessSettings",
    "Probe",
    "Reachability",
    "SearXNG",
    "SearXNGSettings",
    "Search",
    "SearchProvider",
    "Serper",
    "SerperSettings",
    "WebSearch",
    "WebSearchSettings",
    "open_keyless_search",
    "own_first_stop",
    "reach_by_tcp",
]
