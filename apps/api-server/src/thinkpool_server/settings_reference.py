"""The table of all settings, for the documentation, made from the settings themselves."""

from collections.abc import Mapping

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from thinkpool_server.settings import Settings


def settings_reference() -> str:
    """Every setting as a row of a Markdown table: variable, default, what is allowed, why it exists."""
    rows = ["| variable | default | allowed | why |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
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


_KINDS: Mapping[str, str] = {
    "<class 'bool'>": "`true` or `false`",
    "typing.Literal['auto', 'native', 'mcp_xml']": "`auto`, `native` or `mcp_xml`",
    "typing.Literal['auto', 'jina', 'direct']": "`auto`, `jina` or `direct`",
    "typing.Literal['auto', 'e2b', 'local', 'off']": "`auto`, `e2b`, `local` or `off`",
    "typing.Literal['debug', 'info', 'warning', 'error']": "`debug`, `info`, `warning` or `error`",
}
