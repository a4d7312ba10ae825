"""The server's settings: typed, bounded, and each with its reason; a wrong one names itself and stops the start.

`Settings` itself reads nothing but its arguments, so that tests are hermetic; `load_settings` reads the environment
and `.env`. A field's environment variable is its name in capitals. No message here repeats a value.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.values import Budget

_KEY_CHARACTERS = re.compile(r"[!-~]+")  # what an HTTP header carries without quoting
_MIN_KEY_CHARACTERS = 8
_TENANT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PYDANTIC_PREFIX = re.compile(r"^(Value error, |Input |String )")
_METRIC_PREFIX = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ServerKey:
    """One client's key."""

    tenant: str
    """The key's name: whose runs are whose."""
    key: SecretStr


def _checked_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should be an http or https URL")
    if parts.username or parts.password:
        raise ValueError("should hold no user name or password")
    return value.rstrip("/")


def _checked_secret(value: SecretStr) -> SecretStr:
    if not _KEY_CHARACTERS.fullmatch(value.get_secret_value()):
        raise ValueError("should be printable ASCII without blanks")
    return value


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _server_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys: list[ServerKey] = []
    for pair in value.split(","):
        name, colon, key = pair.strip().partition(":")
        if (
            not colon
            or not _TENANT_NAME.fullmatch(name)
            or not _KEY_CHARACTERS.fullmatch(key)
            or len(key) < _MIN_KEY_CHARACTERS
        ):
            raise ValueError(
                "should be name:key pairs with commas between them: names of letters, digits, _ and -, "
                "keys of 8 characters or more"
            )
        keys.append(ServerKey(name, SecretStr(key)))
    if len({key.key.get_secret_value() for key in keys}) < len(keys):
        raise ValueError("should give each name a key of its own")
    return tuple(keys)


def _checked_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if origin != "*" and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin):
            raise ValueError("should be origins such as https://chat.example.org, with commas between them, or *")
    return value


def _checked_directory(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError("should be a folder that exists")
    return value


def _checked_namespace(value: str) -> str:
    if not _METRIC_PREFIX.fullmatch(value):
        raise ValueError("should be small letters, digits and _, with a letter first")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(_checked_url)]
Secret = Annotated[SecretStr, AfterValidator(_checked_secret)]


class Settings(BaseSettings):
    """Everything an operator may turn. The defaults serve one machine with nothing installed."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    base_url: Url | None = Field(
        default=None,
        description="The OpenAI-compatible endpoint, with its `/v1`; unset, the builtin researcher answers.",
    )
    api_key: Secret | None = Field(default=None, description="The endpoint's key; unset for servers without one.")
    default_model_name: str | None = Field(
        default=None, min_length=1, max_length=200, description="The model runs use unless they name another."
    )
    model_idle_seconds: float = Field(
        default=60, ge=0.1, le=3600, description="Silence after which a model's stream counts as dead."
    )
    model_total_seconds: float = Field(
        default=600, ge=0.1, le=7200, description="The most that one reply may take: a dripping model never ends."
    )
    model_context_tokens: int = Field(
        default=128_000, ge=2_000, le=10_000_000, description="The model's window; a run's context is kept inside it."
    )
    model_max_attempts: int = Field(
        default=3, ge=1, le=10, description="Tries for one reply, the first included: bounds what a dead model costs."
    )
    summary_llm_base_url: Url | None = Field(
        default=None, description="The endpoint that extracts answers from long pages; unset, the page is read as is."
    )
    summary_llm_api_key: Secret | None = Field(default=None, description="Its key.")
    summary_llm_model_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("SUMMARY_LLM_MODEL_NAME", "SUMMARY_LLM_MODEL"),
        description="Its model; `SUMMARY_LLM_MODEL` is read too.",
    )
    serper_api_key: Secret | None = Field(default=None, description="Offers `web_search` through Serper.")
    serper_base_url: Url = Field(
        default="https://google.serper.dev", description="Serper, or what speaks like it; set, it needs no key."
    )
    jina_api_key: Secret | None = Field(default=None, description="Offers `read_page` through Jina Reader.")
    jina_base_url: Url = Field(
        default="https://r.jina.ai", description="Jina Reader, or what speaks like it; set, it needs no key."
    )
    knowledge_dir: Annotated[Path, AfterValidator(_checked_directory)] | None = Field(
        default=None, description="The documents that runs may search; unset, the project's own."
    )
    data_dir: Path = Field(
        default=Path(".thinkpool"), description="Where runs are kept. One server process at a time may use it."
    )
    host: str = Field(
        default="127.0.0.1", min_length=1, max_length=253, description="The address to listen on: this machine only."
    )
    port: int = Field(default=8000, ge=0, le=65_535, description="The port to listen on; 0 takes a free one.")
    allow_open: bool = Field(
        default=False, description="Consent to listen beyond this machine with no `SERVER_API_KEYS`."
    )
    pipeline_pool_size: int = Field(
        default=5, ge=1, le=1_000, description="Pipelines of this replica: the most runs it works on at once."
    )
    pipeline_max_runs: int = Field(
        default=100, ge=1, le=1_000_000, description="Runs after which a pipeline is replaced: nothing leaks for ever."
    )
    max_concurrent_requests: int = Field(
        default=10, ge=1, le=10_000, description="Runs executing at once in the whole deployment: the global limit."
    )
    max_queued_requests: int = Field(
        default=100, ge=0, le=1_000_000, description="Runs that may wait; beyond it a request is refused with 429."
    )
    max_runs_per_tenant: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="The most runs of one tenant executing at once; its others wait. Unset, the global limit alone.",
    )
    max_turns: int = Field(default=20, ge=1, le=1_000, description="Model turns of one run: requests may ask for less.")
    max_tool_calls: int = Field(
        default=100, ge=1, le=10_000, description="Tool calls of one run: requests may ask for less."
    )
    max_tokens: int = Field(
        default=1_000_000, ge=1_000, le=1_000_000_000, description="Tokens of one run: requests may ask for less."
    )
    max_run_seconds: float = Field(
        default=3600, ge=1, le=86_400, description="Seconds of work of one run: requests may ask for less."
    )
    queue_timeout_seconds: float = Field(
        default=3600, ge=1, le=604_800, description="Waiting beyond it ends a run: nobody waits for ever."
    )
    tool_parallelism: int = Field(
        default=4, ge=1, le=64, description="Tool calls of one turn side by side: spares the services behind them."
    )
    keep_tool_results: int = Field(
        default=5, ge=1, le=1_000, description="Newest tool results kept whole in the context; older ones are stubs."
    )
    tool_timeout_seconds: float = Field(
        default=120, ge=0.1, le=3600, description="The most one tool call may take, its retries included."
    )
    run_retention_hours: float = Field(
        default=168, ge=0.01, le=876_000, description="How long an ended run can be read; afterwards it answers 410."
    )
    disconnect_grace_seconds: float = Field(
        default=10, ge=0, le=3600, description="Time for a chat client to come back before its run is cancelled."
    )
    shutdown_grace_seconds: float = Field(
        default=10,
        ge=0,
        le=600,
        description="Time for runs and streams to end at shutdown; what is left resumes later.",
    )
    heartbeat_seconds: float = Field(
        default=10, ge=0.05, le=60, description="A comment on silent streams this often: proxies cut idle ones."
    )
    stream_send_timeout_seconds: float = Field(
        default=30, ge=0.1, le=600, description="A reader that takes nothing for so long is dropped; it may resume."
    )
    max_body_bytes: int = Field(
        default=1_000_000, ge=1_024, le=100_000_000, description="The largest request body; beyond it 413, unread."
    )
    server_api_keys: Annotated[tuple[ServerKey, ...], NoDecode, BeforeValidator(_server_keys)] = Field(
        default=(), description="`name:key` pairs with commas between them; the name is the tenant. None: open."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_checked_origins)] = (
        Field(default=(), description="Origins whose pages may call the server from a browser; none by default.")
    )
    cors_credentials: bool = Field(
        default=False, description="Whether such pages may send cookies; refused together with the origin `*`."
    )
    metrics_namespace: Annotated[str, AfterValidator(_checked_namespace)] = Field(
        default="thinkpool", max_length=64, description="The prefix of every metric's name."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="What is worth a line."
    )
    log_content: bool = Field(
        default=False, description="Whether questions, pages and reports may appear in logs: private by default."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone: `load_settings` is what reads the environment."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        _require(
            self.base_url is not None or (self.api_key is None and self.default_model_name in (None, "builtin")),
            "BASE_URL should be set when API_KEY or DEFAULT_MODEL_NAME is",
        )
        _require(
            self.base_url is None or self.default_model_name is not None,
            "DEFAULT_MODEL_NAME should be set when BASE_URL is",
        )
        _require(
            (self.summary_llm_base_url is None) == (self.summary_llm_model_name is None),
            "SUMMARY_LLM_BASE_URL and SUMMARY_LLM_MODEL_NAME should be set together",
        )
        _require(
            self.summary_llm_api_key is None or self.summary_llm_base_url is not None,
            "SUMMARY_LLM_BASE_URL should be set when SUMMARY_LLM_API_KEY is",
        )
        _require(
            self.model_idle_seconds <= self.model_total_seconds,
            "MODEL_IDLE_SECONDS should be at most MODEL_TOTAL_SECONDS",
        )
        _require(
            self.heartbeat_seconds <= self.stream_send_timeout_seconds,
            "STREAM_SEND_TIMEOUT_SECONDS should be at least HEARTBEAT_SECONDS: heartbeats find who takes nothing",
        )
        _require(
            not ("*" in self.cors_origins and self.cors_credentials),
            "CORS_ORIGINS should name its origins when CORS_CREDENTIALS is on",
        )
        _require(
            self.is_loopback_only or bool(self.server_api_keys) or self.allow_open,
            "HOST should be of this machine, or SERVER_API_KEYS be set, or ALLOW_OPEN=true say that anybody may ask",
        )
        return self

    @property
    def is_loopback_only(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_web_search_offered(self) -> bool:
        """Whether runs may search the web: by a key, or by a base URL set on purpose."""
        return self.serper_api_key is not None or "serper_base_url" in self.model_fields_set

    @property
    def is_page_reading_offered(self) -> bool:
        """Whether runs may read web pages: by a key, or by a base URL set on purpose."""
        return self.jina_api_key is not None or "jina_base_url" in self.model_fields_set

    @property
    def model_name(self) -> str:
        """The name of the model that runs use by default; `builtin` without an endpoint."""
        return self.default_model_name or "builtin"

    @property
    def budget(self) -> Budget:
        """The most any run may use; also what a request gets that asks for nothing."""
        return Budget(
            max_turns=self.max_turns,
            max_tool_calls=self.max_tool_calls,
            max_tokens=self.max_tokens,
            max_seconds=self.max_run_seconds,
        )


def load_settings(env_file: Path | None = Path(".env"), **overrides: object) -> Settings:
    """The settings of `overrides` (by field name), else of the environment, else of `env_file` if it exists.

    Raises:
        ConfigurationError: names each wrong setting and its bound; never a value.

    """
    found: dict[str, object] = {}
    if env_file is not None:
        found |= DotEnvSettingsSource(Settings, env_file=env_file, env_ignore_empty=True)()
        found = {name: value for name, value in found.items() if name in _known_names()}
    found |= EnvSettingsSource(Settings, env_ignore_empty=True)()
    for name in overrides:
        found.pop(name, None)
    try:
        return Settings.model_validate(found | overrides)
    except ValidationError as error:
        raise ConfigurationError(_explained(error)) from None


def settings_reference() -> str:
    """Every setting as a row of a Markdown table: variable, default, what is allowed, why it exists."""
    rows = ["| variable | default | allowed | why |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{name.upper()}` | {_default(field)} | {_bounds(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _known_names() -> frozenset[str]:
    return frozenset(Settings.model_fields) | {"SUMMARY_LLM_MODEL_NAME", "SUMMARY_LLM_MODEL"}


def _explained(error: ValidationError) -> str:
    return "; ".join(
        f"{_named(item['loc'])}{_PYDANTIC_PREFIX.sub('', item['msg'])}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _named(location: tuple[int | str, ...]) -> str:
    return f"{str(location[0]).upper()} " if location else ""


def _default(field: FieldInfo) -> str:
    default: object = field.default
    if default is None or default == ():
        return "unset"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def _bounds(field: FieldInfo) -> str:
    least = next((str(item.ge) for item in field.metadata if isinstance(item, Ge)), None)
    most = next((str(item.le) for item in field.metadata if isinstance(item, Le)), None)
    if least is not None and most is not None:
        return f"{least} to {most}"
    return _KINDS.get(str(field.annotation), "")


_KINDS: Mapping[str, str] = {
    "<class 'bool'>": "`true` or `false`",
    "typing.Literal['debug', 'info', 'warning', 'error']": "`debug`, `info`, `warning` or `error`",
}
