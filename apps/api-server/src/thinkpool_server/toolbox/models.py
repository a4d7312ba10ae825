"""The models on offer."""

from pydantic import SecretStr
from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.models.builtin import BuiltinResearcher
from thinkpool_pipeline.models.openai_compatible import OpenAICompatibleModel, OpenAICompatibleSettings
from thinkpool_pipeline.models.tagged_calls import with_tool_call_format
from thinkpool_pipeline.outward import CallLimits, Outward, RateWindow, UpstreamSettings
from thinkpool_pipeline.protocols import Model

from thinkpool_server.extensions import make_extra_models
from thinkpool_server.settings import Settings

MODEL_PATIENCE_SECONDS = 30.0
"""How long a turn waits for an endpoint that has just failed: a short outage is not to end runs."""


def make_models(settings: Settings, outward: Outward) -> dict[str, Model]:
    """The models on offer by name, the default first; the builtin researcher is always among them.

    Raises:
        ConfigurationError: `EXTRA_MODELS` names something that is no model, or there is no default model.

    """
    made: list[Model] = [BuiltinResearcher(), *make_extra_models(settings.extra_models)]
    if settings.base_url is not None:
        made.insert(0, _endpoint_model(settings, outward))
    models = {model.name: model for model in reversed(made)}
    if settings.model_name not in models:
        raise ConfigurationError("DEFAULT_MODEL_NAME should be the endpoint's at BASE_URL, or one of EXTRA_MODELS")
    return {settings.model_name: models[settings.model_name]} | {model.name: models[model.name] for model in made}


def make_extractor(settings: Settings, outward: Outward) -> Model | None:
    """The model that extracts from pages what is asked; None where none is set."""
    if settings.summary_llm_base_url is None or settings.summary_llm_model_name is None:
        return None
    endpoint = OpenAICompatibleSettings(
        base_url=settings.summary_llm_base_url,
        model_name=settings.summary_llm_model_name,
        idle_seconds=settings.model_idle_seconds,
        total_seconds=settings.model_total_seconds,
    )
    upstream = UpstreamSettings(
        limits=_limits(settings),
        account="model" if settings.summary_llm_base_url == settings.base_url else "extraction",
        open_patience_seconds=MODEL_PATIENCE_SECONDS,
        keys=revealed(settings.summary_llm_api_key),
    )
    return OpenAICompatibleModel(outward.upstream("extraction", upstream), endpoint)


def call_limits(calls_per_second: float | None, max_concurrent_calls: int | None) -> CallLimits:
    """What a service allows, as the outward layer takes it."""
    rate = None if calls_per_second is None else RateWindow.of(calls_per_second)
    return CallLimits(max_concurrent=max_concurrent_calls, rate=rate)


def revealed(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    """The secrets as the outward layer takes them."""
    return tuple(secret.get_secret_value() for secret in secrets)


def _limits(settings: Settings) -> CallLimits:
    return call_limits(settings.model_calls_per_second, settings.model_max_concurrent_calls)


def _endpoint_model(settings: Settings, outward: Outward) -> Model:
    assert settings.base_url is not None
    endpoint = OpenAICompatibleSettings(
        base_url=settings.base_url,
        model_name=settings.model_name,
        idle_seconds=settings.model_idle_seconds,
        total_seconds=settings.model_total_seconds,
    )
    upstream = outward.upstream(
        "model",
        UpstreamSettings(
            limits=_limits(settings),
            max_retries=settings.model_max_attempts - 1,
            open_patience_seconds=MODEL_PATIENCE_SECONDS,
            keys=revealed(settings.api_key),
        ),
    )
    return with_tool_call_format(OpenAICompatibleModel(upstream, endpoint), settings.tool_call_format)
