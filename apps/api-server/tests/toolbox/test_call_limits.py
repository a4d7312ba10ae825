"""Which limits the settings put on which services, and under which name replicas share them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.outward import CallLimits, Outward, RateWindow, open_outward
from thinkpool_server.settings import Settings
from thinkpool_server.toolbox import make_models
from thinkpool_server.toolbox.code import open_code_place
from thinkpool_server.toolbox.models import make_extractor
from thinkpool_server.toolbox.web import open_web_toolkit

MODEL = {"base_url": "http://m/v1", "default_model_name": "m", "api_key": ("key",)}


@dataclass
class Asked:
    """Shares with nobody, and remembers which limits it was asked for."""

    limits: dict[str, CallLimits] = field(default_factory=dict)
    results: None = None

    def limit(self, name: str, limits: CallLimits) -> "Asked":
        self.limits[name] = limits
        return self


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def outward(asked: Asked) -> AsyncIterator[Outward]:
    async with open_outward(shared=asked) as outward:
        yield outward


async def open_all(settings: Settings, outward: Outward) -> None:
    make_models(settings, outward)
    async with open_web_toolkit(settings, outward, None), open_code_place(settings, outward, "deployment"):
        pass


async def test_nothing_is_limited_unless_it_is_said(outward, asked):
    settings = Settings(**MODEL, serper_api_key=("key",), searxng_url="http://s", jina_api_key=("key",), sandbox="off")
    await open_all(settings, outward)
    assert asked.limits == {}


async def test_each_kind_of_service_has_limits_of_its_own(outward, asked):
    settings = Settings(
        **MODEL,
        summary_llm_base_url="http://other/v1",
        summary_llm_model_name="small",
        model_calls_per_second=5,
        model_max_concurrent_calls=7,
        serper_api_key=("key",),
        searxng_url="http://s",
        search_calls_per_second=0.5,
        jina_api_key=("key",),
        reader_max_concurrent_calls=3,
        sandbox="off",
    )
    await open_all(settings, outward)
    models, searches = CallLimits(max_concurrent=7, rate=RateWindow.of(5)), CallLimits(rate=RateWindow.of(0.5))
    assert asked.limits == {
        "model": models,
        "extraction": models,
        "search": searches,
        "searxng": searches,
        "reader": CallLimits(max_concurrent=3),
    }


async def test_models_at_one_endpoint_share_what_it_allows(outward, asked):
    settings = Settings(
        **MODEL, summary_llm_base_url="http://m/v1", summary_llm_model_name="small", model_calls_per_second=5
    )
    make_models(settings, outward)
    make_extractor(settings, outward)
    assert set(asked.limits) == {"model"}


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        ({}, CallLimits(rate=RateWindow.of(1))),
        ({"search_calls_per_second": 0.2}, CallLimits(rate=RateWindow.of(0.2))),
        ({"search_max_concurrent_calls": 1}, CallLimits(max_concurrent=1, rate=RateWindow.of(1))),
    ],
)
async def test_engines_that_want_no_key_are_asked_as_seldom_as_they_need_it(outward, asked, changes, limits):
    await open_all(Settings(**changes, sandbox="off"), outward)
    assert asked.limits == {"duckduckgo": limits}


async def test_e2b_s_sandboxes_are_limited_in_the_whole_deployment(outward, asked):
    settings = Settings(web_access=False, sandbox="e2b", e2b_api_key=("key",), max_sandboxes=12, sandboxes_per_second=2)
    await open_all(settings, outward)
    assert asked.limits == {
        "sandboxes": CallLimits(max_concurrent=12),
        "sandbox creations": CallLimits(rate=RateWindow.spaced(2)),
    }
