"""The server's settings: typed, bounded, and each with its reason; a wrong one names itself and stops the start.

`Settings` itself reads nothing but its arguments, so that tests are hermetic; `load_settings` reads the environment
and `.env`. A field's environment variable is its name in capitals. No message here repeats a value.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
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

from thinkpool_server.setting_values import (
    DatabaseUrl,
    Hosts,
    ImportableNames,
    Secrets,
    ServerKey,
    TenantWebhook,
    Url,
    Webhooks,
    WebhookSecret,
    WebhookSecrets,
    checked_directory,
    checked_namespace,
    checked_origins,
    lower,
    password_of,
    server_keys,
    split,
)

OPEN_TENANT = "default"
"""Everybody, where there are no keys."""

_PYDANTIC_PREFIX = re.compile(r"^(Value error, |Input |String )")


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
    api_key: Secrets = Field(
        default=(), description="The endpoint's key, or several with commas between them; unset where it wants none."
    )
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
    max_history_tokens: int = Field(
        default=32_000,
        ge=500,
        le=10_000_000,
        description="A longer history is summarised by the model first; half the window at most.",
    )
    model_max_attempts: int = Field(
        default=4, ge=1, le=10, description="Tries for one reply, the first included: bounds what a dead model costs."
    )
    model_calls_per_second: float | None = Field(
        default=None,
        ge=0.01,
        le=1_000,
        description="Calls to a model in any second with each key, all replicas together. Unset: any number.",
    )
    model_max_concurrent_calls: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="Calls to a model at once, all replicas together. Unset: any number.",
    )
    tool_call_format: Annotated[Literal["auto", "native", "mcp_xml"], BeforeValidator(lower)] = Field(
        default="auto", description="How the model writes tool calls; `auto` takes both, and asks as the endpoint can."
    )
    summary_llm_base_url: Url | None = Field(
        default=None, description="The endpoint that extracts answers from long pages; unset, the page is read as is."
    )
    summary_llm_api_key: Secrets = Field(default=(), description="Its key or keys.")
    summary_llm_model_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("SUMMARY_LLM_MODEL_NAME", "SUMMARY_LLM_MODEL"),
        description="Its model; `SUMMARY_LLM_MODEL` is read too.",
    )
    web_access: bool = Field(
        default=True, description="Whether runs may use the web at all; `false` leaves them the local documents."
    )
    serper_api_key: Secrets = Field(
        default=(), description="Searches through Serper; several keys, with commas between them, take turns."
    )
    serper_base_url: Url = Field(
        default="https://google.serper.dev", description="Serper, or what speaks like it; set, it needs no key."
    )
    searxng_url: Url | None = Field(
        default=None, description="A SearXNG that gives JSON: searches through it, after Serper where both are set."
    )
    search_calls_per_second: float | None = Field(
        default=None,
        ge=0.01,
        le=1_000,
        description="Searches in any second with each key, all replicas together. Unset: any number, 1 without a key.",
    )
    search_max_concurrent_calls: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="Searches at once at each service, all replicas together. Unset: any number.",
    )
    jina_api_key: Secrets = Field(
        default=(), description="Reads pages through Jina Reader; several keys, with commas between them, take turns."
    )
    jina_base_url: Url = Field(
        default="https://r.jina.ai", description="Jina Reader, or what speaks like it; set, it needs no key."
    )
    reader_calls_per_second: float | None = Field(
        default=None,
        ge=0.01,
        le=1_000,
        description="Pages in any second through Jina Reader with each key, all replicas together. Unset: any number.",
    )
    reader_max_concurrent_calls: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="Pages at once through Jina Reader, all replicas together. Unset: any number.",
    )
    page_reader: Annotated[Literal["auto", "jina", "direct"], BeforeValidator(lower)] = Field(
        default="auto", description="Who reads pages: Jina Reader if set up, then the server itself; or one of them."
    )
    allow_model_urls: bool = Field(
        default=False,
        description="Whether a model may read addresses that neither the user, a search nor a page gave: it may leak.",
    )
    respect_robots_txt: bool = Field(
        default=True, description="Whether pages are left alone whose site asks robots to stay away."
    )
    sandbox: Annotated[Literal["auto", "e2b", "local", "off"], BeforeValidator(lower)] = Field(
        default="auto", description="Where models' code runs: E2B with a key, else bubblewrap if it works here."
    )
    e2b_api_key: Secrets = Field(
        default=(), description="Runs code in E2B's sandboxes; several keys, with commas between them, take turns."
    )
    e2b_api_url: Url | None = Field(default=None, description="Where E2B's API is, if not at E2B's own address.")
    e2b_sandbox_url: Url | None = Field(default=None, description="Where all its sandboxes are, if behind one address.")
    max_sandboxes: int = Field(
        default=20,
        ge=1,
        le=1_000,
        description="Sandboxes at once: E2B's of all replicas together, local ones of each. More runs wait for one.",
    )
    sandboxes_per_second: float = Field(
        default=1,
        ge=0.1,
        le=100,
        description="How fast E2B may be asked for new sandboxes, by all replicas together: its plans set a limit.",
    )
    code_timeout_seconds: float = Field(
        default=60, ge=1, le=3600, description="The most one program may take; TOOL_TIMEOUT_SECONDS should allow it."
    )
    sandbox_memory_mb: int = Field(
        default=1024, ge=128, le=65_536, description="Memory of one local sandbox, with all its processes."
    )
    mcp_config: Path | None = Field(
        default=None, description="The file that names MCP servers; unset, `mcp.json` here if there is one."
    )
    extra_tools: ImportableNames = Field(
        default=(), description="Tools of your own: `package.module:name` of each class, with commas between them."
    )
    extra_models: ImportableNames = Field(
        default=(), description="Models of your own: `package.module:name` of each class, with commas between them."
    )
    research_subtopics: bool = Field(
        default=False, description="Whether runs may have parts of a question researched on their own."
    )
    subtopic_budget_share: float = Field(
        default=0.25, ge=0.01, le=1, description="What such a part may use of what is left of its run's budget."
    )
    knowledge_dir: Annotated[Path, AfterValidator(checked_directory)] | None = Field(
        default=None, description="The documents that runs may search; unset, the project's own."
    )
    data_dir: Path = Field(
        default=Path(".thinkpool"),
        description="Where runs and the documents' index are kept. One server process at a time may use it.",
    )
    database_url: DatabaseUrl | None = Field(
        default=None,
        description="PostgreSQL, as `postgresql://user:password@host/name`: keeps the runs instead, for any number of"
        " replicas.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        max_length=253,
        description="The address to listen on: that of this machine alone, or `0.0.0.0` for all that it has.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65_535,
        description="The port to listen on, one for each server of a machine; 0 takes a free one.",
    )
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
        default=5,
        ge=-1,
        le=1_000,
        description="Newest tool results kept whole for the model, older ones as stubs; -1: all.",
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
    max_input_file_bytes: int = Field(
        default=5_000_000,
        ge=0,
        le=100_000_000,
        description="Files that may come with one question, in all; request bodies may be longer by as much. 0: none.",
    )
    server_api_keys: Annotated[tuple[ServerKey, ...], NoDecode, BeforeValidator(server_keys)] = Field(
        default=(), description="`name:key` pairs with commas between them; the name is the tenant. None: open."
    )
    webhook_secrets: WebhookSecrets = Field(
        default=(),
        description="Sign webhooks: `whsec_...`, or `tenant:whsec_...` for that tenant alone, with commas between"
        " them. None: no webhooks.",
    )
    webhooks: Webhooks = Field(
        default=(),
        description="`tenant:url` pairs with commas between them: told of the end of each of the tenant's runs.",
    )
    webhook_hosts: Hosts = Field(
        default=(),
        description="Hosts that requests may name as `webhook_url` though they are not on the public internet:"
        " `host` or `host:port`.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(checked_origins)] = Field(
        default=(), description="Origins whose pages may call the server from a browser; none by default."
    )
    cors_credentials: bool = Field(
        default=False, description="Whether such pages may send cookies; refused together with the origin `*`."
    )
    metrics_namespace: Annotated[str, AfterValidator(checked_namespace)] = Field(
        default="thinkpool", max_length=64, description="The prefix of every metric's name."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = Field(
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
            self.base_url is not None
            or (not self.api_key and (bool(self.extra_models) or self.default_model_name in (None, "builtin"))),
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
            not self.summary_llm_api_key or self.summary_llm_base_url is not None,
            "SUMMARY_LLM_BASE_URL should be set when SUMMARY_LLM_API_KEY is",
        )
        _require(
            self.model_idle_seconds <= self.model_total_seconds,
            "MODEL_IDLE_SECONDS should be at most MODEL_TOTAL_SECONDS",
        )
        _require(
            self.keep_tool_results != 0,
            "KEEP_TOOL_RESULTS should be at least 1, or -1 to keep all",
        )
        _require(
            self.page_reader != "jina" or self.has_jina,
            "JINA_API_KEY should be set when PAGE_READER is jina",
        )
        _require(
            self.sandbox != "e2b" or bool(self.e2b_api_key),
            "E2B_API_KEY should be set when SANDBOX is e2b",
        )
        _require(
            self.heartbeat_seconds <= self.stream_send_timeout_seconds,
            "STREAM_SEND_TIMEOUT_SECONDS should be at least HEARTBEAT_SECONDS: heartbeats find who takes nothing",
        )
        signed = {secret.tenant for secret in self.webhook_secrets}
        _require(
            None in signed or all(webhook.tenant in signed for webhook in self.webhooks),
            "WEBHOOK_SECRETS should have a secret for each tenant of WEBHOOKS",
        )
        tenants = {key.tenant for key in self.server_api_keys} or {OPEN_TENANT}
        _require(
            {*(webhook.tenant for webhook in self.webhooks), *signed} <= {*tenants, None},
            f"WEBHOOKS and WEBHOOK_SECRETS should name tenants of SERVER_API_KEYS, or {OPEN_TENANT} if there are none",
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
    def has_serper(self) -> bool:
        """Whether Serper is there to search: by a key, or by a base URL set on purpose."""
        return bool(self.serper_api_key) or "serper_base_url" in self.model_fields_set

    @property
    def has_jina(self) -> bool:
        """Whether Jina Reader is there to read pages: by a key, or by a base URL set on purpose."""
        return bool(self.jina_api_key) or "jina_base_url" in self.model_fields_set

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret in the settings."""
        values: list[object] = [getattr(self, name) for name in Settings.model_fields]
        listed = [value for value in values if isinstance(value, SecretStr)]
        for value in values:
            if isinstance(value, tuple):
                items = cast("tuple[object, ...]", value)
                listed += [item for item in items if isinstance(item, SecretStr)]
                listed += [item.key for item in items if isinstance(item, ServerKey | WebhookSecret)]
                listed += [item.url for item in items if isinstance(item, TenantWebhook)]
        known = {secret.get_secret_value() for secret in listed}
        return frozenset(known | {password_of(url) for url in known & {self._database_url}} - {""})

    @property
    def _database_url(self) -> str:
        return "" if self.database_url is None else self.database_url.get_secret_value()

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
