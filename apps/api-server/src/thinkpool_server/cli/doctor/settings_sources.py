"""Where settings come from, loaded as `serve` loads them; a wrong one is left out, so that the rest can be examined."""

import logging
import os
import re
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from pydantic_settings import DotEnvSettingsSource
from thinkpool_pipeline.errors import ConfigurationError

from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.settings import Settings, load_settings

ENV_FILE: Final = Path(".env")

_CHECK = "settings"
_ALIASES: Mapping[str, str] = {"SUMMARY_LLM_MODEL": "SUMMARY_LLM_MODEL_NAME"}
_VARIABLES = frozenset(name.upper() for name in Settings.model_fields) | _ALIASES.keys()
_NAME = re.compile(r"\b[A-Z][A-Z0-9_]*\b")
_PREFIX = "THINKPOOL_"
_ALIKE_IN_FILE = 0.8
_ALIKE_IN_ENVIRONMENT = 0.85  # most names there are others'
_ROUNDS = 3  # a wrong setting hides which ones do not fit together
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """What came of loading."""

    settings: Settings
    wrong: frozenset[str]
    """Variables whose values were left out."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _EnvFile:
    """What `.env` holds."""

    path: Path | None = ENV_FILE
    """None when it cannot be read."""
    names: frozenset[str] = frozenset()
    """Of the variables that it sets, in capitals."""
    broken_lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """The settings, with the defaults of those that are wrong; of all, where these cannot be told apart."""

    settings: Settings
    wrong: frozenset[str]
    complaints: tuple[str, ...]


class _LineNumbers(logging.Handler):
    """Takes what python-dotenv has to say of lines, in place of standard error: their numbers, never their words."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[int, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Notes the line."""
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], int):
            self.numbers[record.args[0]] = None


def load(environ: Mapping[str, str] = os.environ) -> LoadedSettings:
    """The settings of this directory and environment, and what there is to say of where they come from."""
    in_environment = frozenset(name.upper() for name, value in environ.items() if value)
    with _listening() as broken:
        file = _read_env_file(broken)
        outcome = _load_leaving_out_what_is_wrong(file.path)
    findings = [_wrong(text, in_environment, file) for text in outcome.complaints]
    findings += _unreadable(file)
    findings += _misspelt(file.names, "in .env", _ALIKE_IN_FILE)
    findings += _misspelt({name for name in in_environment if "_" in name}, "in the environment", _ALIKE_IN_ENVIRONMENT)
    if not outcome.complaints:
        findings.insert(0, ok(_CHECK, _sources(in_environment, file.names)))
    return LoadedSettings(settings=outcome.settings, wrong=outcome.wrong, findings=tuple(findings))


@contextmanager
def _listening() -> Generator[_LineNumbers]:
    logger, handler = logging.getLogger("dotenv.main"), _LineNumbers()
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def _read_env_file(broken: _LineNumbers) -> _EnvFile:
    try:
        given = DotEnvSettingsSource(Settings, env_file=ENV_FILE, env_ignore_empty=True).env_vars
    except (OSError, UnicodeError):
        return _EnvFile(path=None)
    names = frozenset(name.upper() for name, value in given.items() if value is not None)
    return _EnvFile(names=names, broken_lines=tuple(broken.numbers))


def _load_leaving_out_what_is_wrong(path: Path | None) -> _Outcome:
    complaints: list[str] = []
    wrong: frozenset[str] = frozenset()
    for _ in range(_ROUNDS):
        try:
            settings = load_settings(path, **{name.lower(): _default(name) for name in wrong})
        except ConfigurationError as error:
            new = error.message.split("; ")
            complaints += [text for text in new if not _named([text]) & wrong]  # others come of what was left out
            wrong |= _named(new)
        else:
            return _Outcome(settings=settings, wrong=wrong, complaints=tuple(complaints))
    return _Outcome(settings=Settings(), wrong=_VARIABLES, complaints=tuple(complaints))


def _named(complaints: Iterable[str]) -> frozenset[str]:
    """The variables that messages of `load_settings` name."""
    found = {name for text in complaints for name in _NAME.findall(text)} & _VARIABLES
    return frozenset(_ALIASES.get(name, name) for name in found)


def _default(variable: str) -> object:
    return Settings.model_fields[variable.lower()].get_default()


def _wrong(text: str, in_environment: Collection[str], file: _EnvFile) -> Finding:
    named = _named([text])
    places = [
        place
        for place, names in (("the environment", in_environment), (".env", file.names))
        if any(name in names for name in named)
    ]
    where = f" in {' or '.join(places)}" if places else ""
    return problem(_CHECK, text, mend=f"correct it{where}; docs/configuration.md says what is allowed")


def _unreadable(file: _EnvFile) -> list[Finding]:
    if file.path is None:
        return [problem(_CHECK, ".env cannot be read", mend="make it a text file in UTF-8 that this user may read")]
    if not file.broken_lines:
        return []
    lines = ", ".join(map(str, file.broken_lines))
    found = f".env has what is no setting in line {lines}"
    return [warning(_CHECK, found, mend="write each line as NAME=value, with quotes around a value that has blanks")]


def _misspelt(names: Collection[str], where: str, alike: float) -> list[Finding]:
    found: list[Finding] = []
    for name in sorted(set(names) - _VARIABLES):
        meant = get_close_matches(name.removeprefix(_PREFIX), _VARIABLES, n=1, cutoff=alike)
        if meant:
            text = f"{name} {where} is no setting, and changes nothing"
            found.append(warning(_CHECK, text, mend=f"call it {meant[0]}, if that is what is meant"))
    return found


def _sources(in_environment: frozenset[str], in_file: frozenset[str]) -> str:
    ours, from_file = in_environment & _VARIABLES, in_file & _VARIABLES - in_environment
    parts = [f"{len(ours)} from the environment ({_listed(ours)})"] if ours else []
    parts += [f"{len(from_file)} from .env ({_listed(from_file)})"] if from_file else []
    return ", ".join(parts) or "the defaults: nothing is set in the environment or in .env"


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:_NAMES_SHOWN]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])
