"""The tool `web_search`: asks the services in order until one answers; says which one did, and why others did not."""

import asyncio
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import cast

from thinkpool_pipeline.errors import InvalidArguments, ToolError, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import DeadlinePassed, OutwardError
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.tools.web_search.provider import Found, Search, SearchProvider, TimeRange, reason_of
from thinkpool_pipeline.values import ToolOutput, ToolSpec

MAX_RESULTS = 20

SPEC = ToolSpec(
    name="web_search",
    description="Searches the web. Gives titles, addresses and snippets; read a page to learn what it says.",
    is_outward=True,
    parameters={
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": 500, "description": "What to search for."},
            "num_results": {"type": "integer", "minimum": 1, "maximum": MAX_RESULTS, "default": 10},
            "page": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1, "description": "From 1."},
            "time_range": {
                "type": "string",
                "enum": ["day", "week", "month", "year"],
                "description": "Only results from the past day, week, month or year.",
            },
            "country": {"type": "string", "maxLength": 20, "description": "Where to search from, such as us or de."},
            "language": {"type": "string", "maxLength": 20, "description": "Of the results, such as en or zh-cn."},
            "location": {"type": "string", "maxLength": 200, "description": "A city or region to search from."},
            "autocorrect": {"type": "boolean", "description": "Whether the query's spelling may be corrected."},
        },
        "required": ["query"],
        "additionalProperties": False,
    },
)

_COUNTRY = re.compile(r"[a-z]{2}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]{2})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearchSettings:
    """How long a search may take."""

    total_seconds: float = 30.0
    """For one search over all services, retries included; what is left is shared evenly by those not asked yet."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A provider that did not answer, and why."""

    name: str
    error: OutwardError

    def __str__(self) -> str:
        return f"{self.name} failed ({reason_of(self.error)})"


class WebSearch:
    """The tool `web_search`. Keeps nothing: equal searches share one call through the providers' caches."""

    def __init__(self, providers: Sequence[SearchProvider], settings: WebSearchSettings | None = None) -> None:
        """Takes the providers in the order in which they are asked; at least one."""
        if not providers:
            raise ValueError("There is no provider to search with.")
        self._providers = tuple(providers)
        self._settings = settings or WebSearchSettings()

    def __repr__(self) -> str:
        return f"<WebSearch [{', '.join(provider.name for provider in self._providers)}]>"

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return SPEC

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """Passages of what was found: a document is a page's address, its text the snippet.

        Raises:
            InvalidArguments: the query has no words.
            ToolTimeout: no service answered in time.
            ToolUnavailable: all failed, each for a reason that the message names.

        """
        search = _search(arguments)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.total_seconds
        failures: list[_Failure] = []
        for place, provider in enumerate(self._providers):
            if failures:
                context.report_progress(f"{failures[-1]}; asking {provider.name}.")
            share_seconds = (deadline - loop.time()) / (len(self._providers) - place)
            try:
                answer = provider.search(search, context, total_seconds=share_seconds)
                found = await _in_time(share_seconds, answer)
            except OutwardError as error:
                failures.append(_Failure(provider.name, error))
            else:
                return _output(found, provider.name, failures)
        raise _error(failures)


async def _in_time(seconds: float, answer: Coroutine[object, object, Found]) -> Found:
    """The answer. Providers keep to their time, but one may wait for a call that others share and began later."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await answer
    except TimeoutError:
        if not scope.expired():
            raise
        raise DeadlinePassed(seconds=seconds, is_idle=False) from None


def _search(arguments: JsonArguments) -> Search:
    """The search that the arguments ask for; a country or language that is none is left to the provider's default."""
    query = _words(arguments.get("query"))
    if not query:
        raise InvalidArguments("`query` holds no words.")
    return Search(
        query=query,
        num_results=cast(int, arguments.get("num_results", 10)),
        page=cast(int, arguments.get("page", 1)),
        time_range=cast("TimeRange | None", arguments.get("time_range")),
        country=_code(arguments.get("country"), _COUNTRY),
        language=_code(arguments.get("language"), _LANGUAGE),
        location=_words(arguments.get("location")),
        autocorrect=cast("bool | None", arguments.get("autocorrect")),
    )


def _words(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _code(value: object, form: re.Pattern[str]) -> str:
    """A code in its customary form. What has another form must not get out: engines put it into host names."""
    code = _words(value).lower().replace("_", "-")
    return code if form.fullmatch(code) else ""


def _output(found: Found, name: str, failures: Sequence[_Failure]) -> ToolOutput:
    count = len(found.passages)
    what = f"{count} result{'' if count == 1 else 's'} from {name}" if count else f"{name} found nothing"
    return ToolOutput(
        text="" if count else f"The search found nothing ({name}). Try other words, or fewer.",
        passages=found.passages,
        summary="; ".join([what, *map(str, failures)]),
        is_cached=found.is_cached,
        is_empty=not count,
    )


def _error(failures: Sequence[_Failure]) -> ToolError:
    is_timeout = all(isinstance(failure.error, DeadlinePassed) for failure in failures)
    kind = ToolTimeout if is_timeout else ToolUnavailable
    reasons = ", ".join(f"{failure.name} ({reason_of(failure.error)})" for failure in failures)
    return kind(f"Web search failed: {reasons}.")
