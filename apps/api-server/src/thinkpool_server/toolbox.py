"""Which models and tools a deployment has, from its settings alone."""

from importlib.resources import files
from pathlib import Path

from pydantic import SecretStr
from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.models.builtin import BuiltinResearcher
from thinkpool_pipeline.models.openai_compatible import OpenAICompatibleModel, OpenAICompatibleSettings
from thinkpool_pipeline.outward import Outward, UpstreamSettings
from thinkpool_pipeline.protocols import Model, Tool
from thinkpool_pipeline.tools.documents import ReadDocument, SearchDocuments
from thinkpool_pipeline.tools.read_page import ReadPage, ReadPageSettings
from thinkpool_pipeline.tools.web_search import (
    SearchProvider,
    SearXNG,
    SearXNGSettings,
    Serper,
    SerperSettings,
    WebSearch,
)

from thinkpool_server.settings import Settings

MODEL_PATIENCE_SECONDS = 30.0
"""How long a turn waits for an endpoint that has just failed: a short outage is not to end runs."""


def make_models(settings: Settings, outward: Outward) -> dict[str, Model]:
    """The models on offer by name, the default first; the builtin researcher is always among them."""
    builtin = BuiltinResearcher()
    models: dict[str, Model] = {}
    if settings.base_url is not None:
        endpoint = OpenAICompatibleSettings(
            base_url=settings.base_url,
            model_name=settings.model_name,
            api_key=_revealed(settings.api_key),
            idle_seconds=settings.model_idle_seconds,
            total_seconds=settings.model_total_seconds,
        )
        upstream = outward.upstream(
            "model",
            UpstreamSettings(max_retries=settings.model_max_attempts - 1, open_patience_seconds=MODEL_PATIENCE_SECONDS),
        )
        models[settings.model_name] = OpenAICompatibleModel(upstream, endpoint)
    models[builtin.name] = builtin
    return models


def make_tools(settings: Settings, outward: Outward, knowledge: KnowledgeBase) -> list[Tool]:
    """A pipeline's tools: the local documents always, the web where it is configured."""
    tools: list[Tool] = []
    if providers := _search_providers(settings, outward):
        tools.append(WebSearch(providers))
    if settings.has_jina:
        jina = ReadPageSettings(api_key=_revealed(settings.jina_api_key), base_url=settings.jina_base_url)
        tools.append(ReadPage(outward.upstream("reader"), jina, _extractor(settings, outward)))
    return [*tools, SearchDocuments(knowledge), ReadDocument(knowledge)]


def knowledge_directory(settings: Settings) -> Path:
    """The documents that runs may search: the operator's, else the project's own."""
    if settings.knowledge_dir is not None:
        return settings.knowledge_dir
    packaged = Path(str(files("thinkpool_server") / "docs"))
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "docs"


def _search_providers(settings: Settings, outward: Outward) -> list[SearchProvider]:
    """The search services that are configured, in the order in which they are asked."""
    providers: list[SearchProvider] = []
    if settings.has_serper:
        keys = tuple(key.get_secret_value() for key in settings.serper_api_key)
        upstream = outward.upstream("search", UpstreamSettings(keys=keys))
        providers.append(Serper(upstream, SerperSettings(base_url=settings.serper_base_url)))
    if settings.searxng_url is not None:
        providers.append(SearXNG(outward.upstream("searxng"), SearXNGSettings(base_url=settings.searxng_url)))
    return providers


def _extractor(settings: Settings, outward: Outward) -> Model | None:
    if settings.summary_llm_base_url is None or settings.summary_llm_model_name is None:
        return None
    endpoint = OpenAICompatibleSettings(
        base_url=settings.summary_llm_base_url,
        model_name=settings.summary_llm_model_name,
        api_key=_revealed(settings.summary_llm_api_key),
        idle_seconds=settings.model_idle_seconds,
        total_seconds=settings.model_total_seconds,
    )
    patience = UpstreamSettings(open_patience_seconds=MODEL_PATIENCE_SECONDS)
    return OpenAICompatibleModel(outward.upstream("extraction", patience), endpoint)


def _revealed(secrets: tuple[SecretStr, ...]) -> str:
    return secrets[0].get_secret_value() if secrets else ""
