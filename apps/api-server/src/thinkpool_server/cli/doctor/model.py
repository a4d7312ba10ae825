"""The models: whether their endpoints are there, take the keys and know the names; paid for only when asked to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from pydantic import JsonValue, SecretStr
from thinkpool_pipeline.errors import ConfigurationError, ModelError
from thinkpool_pipeline.outward import Outward, open_outward
from thinkpool_pipeline.protocols import Model
from thinkpool_pipeline.values import Message, ModelRequest, Sampling

from thinkpool_server.cli.doctor.clock import date_reading
from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.cli.doctor.http_probe import Answer, Silence, ask, open_client
from thinkpool_server.settings import Settings
from thinkpool_server.toolbox.models import make_extractor, make_models

PAID_SECONDS: Final = 30.0
"""How long a model may take to say one word: some think first."""

_MAX_KEYS = 10
_NAMES_SHOWN = 5
_NAME_CHARACTERS = 60
_WORD = "Answer with the single word: ok"
_WORD_TOKENS = 2048  # of which thinking takes most


@dataclass(frozen=True, slots=True, kw_only=True)
class _Endpoint:
    """A model's place, and the variables that say where it is."""

    check: str
    url: str
    model: str
    keys: tuple[SecretStr, ...] = field(repr=False)
    url_variable: str
    key_variable: str
    model_variable: str

    @property
    def place(self) -> str:
        """The model and where it is, for people."""
        return f"{self.model} at {self.url.partition('?')[0]}"

    def problem(self, found: str, *, mend: str) -> Finding:
        """Something that keeps it from answering."""
        return problem(self.check, f"{self.place}: {found}", mend=mend)

    def warning(self, found: str, *, mend: str) -> Finding:
        """Something odd about it."""
        return warning(self.check, f"{self.place}: {found}", mend=mend)


async def examine_model(subject: Subject) -> Sequence[Finding]:
    """The model that runs use."""
    settings = subject.settings
    async with open_outward() as outward:
        try:
            models = make_models(_asked_once(settings), outward)
        except ConfigurationError as error:
            mend = "correct EXTRA_MODELS or DEFAULT_MODEL_NAME"
            return [problem("model", error.message.rstrip("."), mend=mend)]
        if settings.base_url is None:
            without = "no language model; BASE_URL attaches one" if settings.model_name == "builtin" else "one of yours"
            return [ok("model", f"{settings.model_name}: {without}")]
        endpoint = _Endpoint(
            check="model",
            url=settings.base_url,
            model=settings.model_name,
            keys=settings.api_key,
            url_variable="BASE_URL",
            key_variable="API_KEY",
            model_variable="DEFAULT_MODEL_NAME",
        )
        return await _examine(endpoint, subject, models[settings.model_name])


async def examine_page_model(subject: Subject) -> Sequence[Finding]:
    """The model that looks answers up in long pages."""
    settings = subject.settings
    assert settings.summary_llm_base_url is not None
    assert settings.summary_llm_model_name is not None
    endpoint = _Endpoint(
        check="page model",
        url=settings.summary_llm_base_url,
        model=settings.summary_llm_model_name,
        keys=settings.summary_llm_api_key,
        url_variable="SUMMARY_LLM_BASE_URL",
        key_variable="SUMMARY_LLM_API_KEY",
        model_variable="SUMMARY_LLM_MODEL_NAME",
    )
    async with open_outward() as outward:
        return await _examine(endpoint, subject, _page_model(settings, outward))


def _page_model(settings: Settings, outward: Outward) -> Model:
    model = make_extractor(settings, outward)
    assert model is not None
    return model


def _asked_once(settings: Settings) -> Settings:
    return settings.model_copy(update={"model_max_attempts": 1})


async def _examine(endpoint: _Endpoint, subject: Subject, model: Model) -> list[Finding]:
    keys = [key.get_secret_value() for key in endpoint.keys[:_MAX_KEYS]]
    headers = [{"authorization": f"Bearer {key}"} for key in keys] or [{}]
    async with open_client() as client:
        url = f"{endpoint.url}/models"
        replies = await asyncio.gather(*(ask(client, url, one) for one in headers))
    answers = [reply for reply in replies if isinstance(reply, Answer)]
    silences = [reply for reply in replies if isinstance(reply, Silence)]
    if not answers:
        mend = f"start it, or correct {endpoint.url_variable}"
        return [endpoint.problem(silences[0].reason, mend=mend)]
    _note_clock(endpoint, answers[0], subject)
    refused = [number for number, reply in enumerate(replies, start=1) if _is_refusal(reply)]
    found = _refusals(endpoint, refused, len(keys))
    accepted = next((answer for answer in answers if not _is_refusal(answer)), None)
    if accepted is None:
        return found
    found.append(_listing(endpoint, accepted, has_key=bool(keys)))
    if subject.is_paid and found[-1].level != "problem":
        found.append(await _word(endpoint, model))
    return found


def _note_clock(endpoint: _Endpoint, answer: Answer, subject: Subject) -> None:
    host = urlsplit(endpoint.url).hostname or endpoint.check
    reading = date_reading(host, answer.date, asked_at=answer.asked_at)
    if reading is not None:
        subject.clocks.append(reading)


def _is_refusal(reply: Answer | Silence) -> bool:
    return isinstance(reply, Answer) and reply.status in (401, 403)


def _refusals(endpoint: _Endpoint, refused: Sequence[int], keys: int) -> list[Finding]:
    variable = endpoint.key_variable
    if not refused:
        return []
    if not keys:
        return [endpoint.problem("it wants a key", mend=f"set {variable}")]
    if keys == 1:
        return [endpoint.problem("it refuses the key", mend=f"correct {variable}")]
    numbers = ", ".join(map(str, refused))
    found = f"it refuses key {numbers} of {keys}"
    if len(refused) == keys:
        return [endpoint.problem(found, mend=f"correct {variable}")]
    return [endpoint.warning(found, mend=f"correct {variable}, or take what is refused out of it")]


def _listing(endpoint: _Endpoint, answer: Answer, *, has_key: bool) -> Finding:
    """What its list of models says, which costs nothing."""
    paid = "`thinkpool doctor --paid` asks the model itself"
    address = f"correct {endpoint.url_variable}, which often ends in /v1"
    if answer.status >= 500:
        return endpoint.problem(f"it fails ({answer.status})", mend="see what is wrong with it")
    if 300 <= answer.status < 400:
        return endpoint.problem(f"it sends elsewhere ({answer.status})", mend=address)
    if answer.status == 429:
        return endpoint.warning("it limits our rate (429)", mend="ask again later, or add a key")
    if answer.status != 200:
        return endpoint.warning(f"it lists no models ({answer.status})", mend=f"{address}; {paid}")
    names = _names(answer.value)
    if names is None:
        return endpoint.problem("what answers there is not an OpenAI-compatible endpoint", mend=address)
    if names and not any(_is_called(name, endpoint.model) for name in names):
        return endpoint.warning(
            f"it knows no such model, but {_shown(names)}", mend=f"correct {endpoint.model_variable}; {paid}"
        )
    return ok(
        endpoint.check, f"{endpoint.place}: reached, {'key accepted' if has_key else 'no key wanted'}, model known"
    )


def _names(value: JsonValue) -> list[str] | None:
    """The names in a list of models; None when it is none.

    Source: https://platform.openai.com/docs/api-reference/models/list
    """
    models = value.get("data") if isinstance(value, dict) else value
    if not isinstance(models, list):
        return None
    found = [model.get("id") for model in models if isinstance(model, dict)]
    return [name for name in found if isinstance(name, str)]


def _is_called(name: str, wanted: str) -> bool:
    """Whether they are one model: some list names with a folder before, or a tag behind, that one may leave out."""
    return wanted in (name, name.rpartition("/")[2], name.removesuffix(":latest"))


def _shown(names: Sequence[str]) -> str:
    shown = [name[:_NAME_CHARACTERS] for name in names[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


async def _word(endpoint: _Endpoint, model: Model) -> Finding:
    request = ModelRequest(
        messages=(Message(role="user", content=_WORD),),
        sampling=Sampling(max_output_tokens=_WORD_TOKENS),
        deadline_seconds=PAID_SECONDS,
    )
    try:
        reply = await model.complete(request)
    except ModelError as error:
        mend = f"correct {endpoint.model_variable} or {endpoint.key_variable}, and see the endpoint's own logs"
        return endpoint.problem(f"asked for a word, it gives none ({error.code})", mend=mend)
    tokens = reply.usage.input_tokens + reply.usage.output_tokens
    return ok(endpoint.check, f"{endpoint.place}: it answers; {tokens} tokens were paid for")
