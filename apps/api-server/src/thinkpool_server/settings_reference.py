"""The table of all settings, for the documentation, made from the settings themselves."""

from collections.abc import Mapping

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from thinkpool_server.settings import Settings


def settings_reference() -> str:
    """Every setting as a row of a Markdown table, by subject: variable, default, what is allowed, why it exists."""
    rows: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in _SUBJECTS:
            rows += ["", f"### {_SUBJECTS[name]}", "", "| variable | default | allowed | why |", "|---|---|---|---|"]
        rows.append(f"| `{name.upper()}` | {_default(field)} | {_bounds(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


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


_SUBJECTS: Mapping[str, str] = {
    "base_url": "The language model",
    "summary_llm_base_url": "The model that reads long pages",
    "web_access": "The web",
    "sandbox": "Code",
    "mcp_config": "Other tools, and models of your own",
    "research_subtopics": "Parts of a question",
    "knowledge_dir": "Documents, runs and the database",
    "host": "The address",
    "pipeline_pool_size": "Runs at once, and runs that wait",
    "max_turns": "What one run may use",
    "run_retention_hours": "Time for runs, streams and shutdown",
    "max_body_bytes": "What a request may weigh",
    "server_api_keys": "Whom it serves",
    "webhook_secrets": "Webhooks",
    "cors_origins": "Browsers",
    "metrics_namespace": "Metrics and logs",
}
"""Each by its first setting: a subject's settings stand together."""

_KINDS: Mapping[str, str] = {
    "<class 'bool'>": "`true` or `false`",
    "typing.Literal['auto', 'native', 'mcp_xml']": "`auto`, `native` or `mcp_xml`",
    "typing.Literal['auto', 'jina', 'direct']": "`auto`, `jina` or `direct`",
    "typing.Literal['auto', 'e2b', 'local', 'off']": "`auto`, `e2b`, `local` or `off`",
    "typing.Literal['debug', 'info', 'warning', 'error']": "`debug`, `info`, `warning` or `error`",
}
