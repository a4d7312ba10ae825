from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_server.settings import Settings, load_settings
from thinkpool_server.settings_reference import settings_reference


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "summary_llm_model"):
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(**settings: object) -> str:
    with pytest.raises(ConfigurationError) as error:
        load_settings(None, **settings)
    return error.value.message


def test_defaults_serve_one_machine_with_nothing_installed() -> None:
    settings = load_settings(None)
    assert settings.model_name == "builtin"
    assert settings.is_loopback_only
    assert not settings.has_serper
    assert not settings.has_jina


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "sekret"),
        ("port", 70_000),
        ("pipeline_pool_size", 0),
        ("max_run_seconds", "nan"),
        ("max_turns", "1e3"),
        ("base_url", "sekret"),
        ("base_url", "https://user:sekret@host/v1"),
        ("base_url", "https://user:[sekret]@host/v1"),
        ("base_url", "https://user:sekret\u2100@host/v1"),
        ("serper_base_url", "ftp://sekret"),
        ("database_url", "sekret"),
        ("database_url", "mysql://me:sekret@db/runs"),
        ("database_url", "postgresql://me:sekret@db"),
        ("database_url", "postgresql://me:[sekret]@db/runs"),
        ("database_url", "postgresql://me:sekret\u2100@db/runs"),
        ("api_key", "sek ret"),
        ("server_api_keys", "sekret"),
        ("server_api_keys", "a:short"),
        ("server_api_keys", "a b:sekret-sekret"),
        ("server_api_keys", "a:sekret-sekret,b:sekret-sekret"),
        ("webhook_secrets", "sekret"),
        ("webhook_secrets", "whsec_c2VrcmV0"),
        ("webhook_secrets", "a b:whsec_" + "sekret00" * 4),
        ("webhook_secrets", "whsec_sekret!" + "sekret00" * 4),
        ("webhooks", "sekret"),
        ("webhooks", "default:sekret"),
        ("webhooks", "default:https://user:sekret@host/"),
        ("webhooks", "default:http://a/,default:http://sekret/"),
        ("webhooks", "default:http://[sekret/"),
        ("webhook_hosts", "http://sekret/"),
        ("webhook_hosts", "a:sekret"),
        ("cors_origins", "sekret"),
        ("cors_origins", "https://a.example/sekret"),
        ("log_level", "sekret"),
        ("knowledge_dir", "/nowhere/sekret"),
        ("metrics_namespace", "Sekret-1"),
        ("default_model_name", "s" * 300),
        ("allow_open", "sekret"),
    ],
)
def test_a_wrong_setting_names_itself_and_never_its_value(name: str, value: object) -> None:
    message = refusal(**{name: value})
    assert message.startswith(name.upper() + " should")
    assert "sekret" not in message.lower()
    assert "sss" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sekret/def@db/runs",
        "postgresql://me:5432/sekret@db/runs",
        "postgresql://me:5432/sek#ret@db/runs",
        "postgresql://me:sekret/runs?application_name=me@db",
        "postgresql://me:sekret/def#@db/runs",
        "postgresql://me:a@b:sekret@db/runs",
        "postgresql://me:sekret@db@db/runs",
        "postgresql://me@db:5432,other:sekret/runs",
        "postgresql://me@[::1]:sekret/runs",
    ],
)
def test_a_database_s_url_whose_password_its_client_would_take_for_a_place_is_refused(url: str) -> None:
    message = refusal(database_url=url)
    assert message.startswith("DATABASE_URL should be ")
    assert "escaped as %2F and %40" in message
    assert "sek" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///runs?host=/var/run/postgresql",
        "postgres://me:se%2Fkr%40et@db:5432/runs?application_name=me@home",
        "postgresql://me:a:b@[::1]:5433,db,other:/runs",
        "postgresql://me@%2Fvar%2Frun/runs",
    ],
)
def test_a_database_s_url_may_be_all_that_its_client_understands(url: str) -> None:
    database_url = load_settings(None, database_url=url).database_url
    assert database_url is not None
    assert conninfo_to_dict(database_url.get_secret_value())["dbname"] == "runs"


def test_several_wrong_settings_are_named_at_once() -> None:
    message = refusal(port=-1, max_turns=0)
    assert "PORT should be greater than or equal to 0" in message
    assert "MAX_TURNS should be greater than or equal to 1" in message


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_key": "k"}, "BASE_URL"),
        ({"default_model_name": "gpt"}, "BASE_URL"),
        ({"base_url": "http://m/v1"}, "DEFAULT_MODEL_NAME"),
        ({"summary_llm_base_url": "http://m/v1"}, "SUMMARY_LLM_MODEL_NAME"),
        ({"summary_llm_model_name": "m"}, "SUMMARY_LLM_BASE_URL"),
        ({"summary_llm_api_key": "k"}, "SUMMARY_LLM_BASE_URL"),
        ({"model_idle_seconds": 20, "model_total_seconds": 10}, "MODEL_IDLE_SECONDS"),
        ({"heartbeat_seconds": 40}, "STREAM_SEND_TIMEOUT_SECONDS"),
        ({"cors_origins": "*", "cors_credentials": True}, "CORS_ORIGINS"),
        ({"host": "0.0.0.0"}, "HOST"),
        ({"host": "example.org"}, "HOST"),
    ],
)
def test_settings_that_do_not_fit_together_stop_the_start(settings: dict[str, object], named: str) -> None:
    assert named in refusal(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0", "allow_open": True},
        {"host": "0.0.0.0", "server_api_keys": "a:key-of-alice"},
        {"host": "::1"},
        {"host": "localhost"},
        {"cors_origins": "*"},
        {"cors_origins": "https://a.example, http://localhost:3000", "cors_credentials": True},
        {"default_model_name": "builtin"},
        {"base_url": "http://m/v1", "default_model_name": "m"},
    ],
)
def test_settings_that_fit_together_are_taken(settings: dict[str, object]) -> None:
    load_settings(None, **settings)


def test_the_environment_wins_over_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        "PORT=1\nMAX_TURNS=7\nAPI_KEY=\nSOMETHING_ELSE=1\nSERVER_API_KEYS=a:key-of-alice,b:key-of-bob\n"
    )
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("SUMMARY_LLM_BASE_URL", "http://m/v1/")
    monkeypatch.setenv("SUMMARY_LLM_MODEL", "small")
    settings = load_settings(env_file)
    assert (settings.port, settings.max_turns, settings.api_key) == (2, 7, ())
    assert settings.summary_llm_base_url == "http://m/v1"
    assert settings.summary_llm_model_name == "small"
    assert [key.tenant for key in settings.server_api_keys] == ["a", "b"]


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "nonsense")
    assert load_settings(None, port=3).port == 3


def test_a_missing_env_file_is_no_error(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none").port == 8000


def test_arguments_alone_make_settings_whatever_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9")
    assert Settings().port == 8000


def test_a_tool_is_offered_by_its_key_or_by_its_base_url() -> None:
    assert Settings(serper_base_url="http://127.0.0.1:1").has_serper
    assert load_settings(None, serper_api_key="k").has_serper
    assert Settings(jina_base_url="http://127.0.0.1:1").has_jina
    assert load_settings(None, jina_api_key="k").has_jina


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = load_settings(
        None, base_url="http://m", default_model_name="m", api_key="sekret-1", server_api_keys="a:sekret-2"
    )
    assert "sekret" not in repr(settings)


def test_a_folder_of_documents_is_taken_if_it_exists(tmp_path: Path) -> None:
    assert load_settings(None, knowledge_dir=str(tmp_path)).knowledge_dir == tmp_path


def test_the_budget_is_the_operators_limits() -> None:
    budget = Settings(max_turns=3, max_tool_calls=4, max_tokens=5000, max_run_seconds=6).budget
    assert (budget.max_turns, budget.max_tool_calls, budget.max_tokens, budget.max_seconds) == (3, 4, 5000, 6)


def test_the_reference_has_a_row_with_a_reason_for_every_setting() -> None:
    lines = settings_reference().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    subjects = [line for line in lines if line.startswith("### ")]
    assert 10 < len(subjects) == lines.count("|---|---|---|---|")
    assert len(rows) == len(Settings.model_fields)
    for name, row in zip(Settings.model_fields, rows, strict=True):
        variable, _default, _allowed, why = (cell.strip() for cell in row.strip("|").split("|"))
        assert variable == f"`{name.upper()}`"
        assert len(why) > 5
    assert "| `PORT` | `8000` | 0 to 65535 |" in settings_reference()
    assert "| `LOG_CONTENT` | `false` | `true` or `false` |" in settings_reference()


WEBHOOK_SECRET = "whsec_" + "c2VrcmV0" * 4


def test_webhooks_are_signed_for_each_tenant_that_has_one() -> None:
    keys = "ada:ada-key-0,bob:bob-key-0"
    settings = load_settings(
        None,
        server_api_keys=keys,
        webhooks=" ada:https://a.example/in?x=1:2 , bob:http://b/",
        webhook_secrets=f"ada:{WEBHOOK_SECRET},{WEBHOOK_SECRET}",
        webhook_hosts="Hooks.Internal, [::1]:9000",
    )
    assert [(hook.tenant, hook.url.get_secret_value()) for hook in settings.webhooks] == [
        ("ada", "https://a.example/in?x=1:2"),
        ("bob", "http://b/"),
    ]
    assert [(secret.tenant, secret.key_bytes) for secret in settings.webhook_secrets] == [
        ("ada", b"sekret" * 4),
        (None, b"sekret" * 4),
    ]
    assert settings.webhook_hosts == ("hooks.internal", "[::1]:9000")
    assert {WEBHOOK_SECRET, "https://a.example/in?x=1:2"} <= settings.secrets
    assert "sekret" not in repr(settings)
    unsigned = refusal(server_api_keys=keys, webhooks="bob:http://b/", webhook_secrets=f"ada:{WEBHOOK_SECRET}")
    assert unsigned == "WEBHOOK_SECRETS should have a secret for each tenant of WEBHOOKS"
    for strangers in ({"webhooks": "eve:http://b/"}, {"webhook_secrets": f"eve:{WEBHOOK_SECRET}"}):
        message = refusal(**{"server_api_keys": keys, "webhook_secrets": WEBHOOK_SECRET, **strangers})
        assert message.startswith("WEBHOOKS and WEBHOOK_SECRETS should name tenants of SERVER_API_KEYS")
    assert load_settings(None, webhooks="default:http://b/", webhook_secrets=WEBHOOK_SECRET).webhooks
