"""Tools and models that the operator wrote: found by their importable names, and checked before the server starts."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TypeVar, cast

from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.protocols import Model, Tool
from thinkpool_pipeline.values import ToolSpec

T = TypeVar("T")


def make_extra_tools(names: Iterable[str]) -> list[Tool]:
    """A new tool of each class that `EXTRA_TOOLS` names.

    Raises:
        ConfigurationError: a name leads nowhere, or to something that is no tool.

    """
    return [cast("Tool", _made("EXTRA_TOOLS", name, _is_tool)) for name in names]


def make_extra_models(names: Iterable[str]) -> list[Model]:
    """A new model of each class that `EXTRA_MODELS` names.

    Raises:
        ConfigurationError: a name leads nowhere, or to something that is no model.

    """
    return [cast("Model", _made("EXTRA_MODELS", name, _is_model)) for name in names]


def _made(setting: str, name: str, is_one: Callable[[object], bool]) -> object:
    module_name, _, attribute = name.partition(":")
    try:
        made: object = getattr(_imported(module_name), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"{setting} names {name}, which cannot be made ({type(error).__name__}); modules are looked for among the "
            "installed packages and in the working directory."
        ) from error
    if not is_one(made):
        raise ConfigurationError(f"{setting} names {name}, which lacks what the protocol asks for.")
    return made


def _imported(module_name: str) -> object:
    """The module, looked for in the working directory, too, as a script there would."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return import_module(module_name)


def _is_tool(made: object) -> bool:
    return callable(made) and isinstance(getattr(made, "spec", None), ToolSpec)


def _is_model(made: object) -> bool:
    return isinstance(getattr(made, "name", None), str) and callable(getattr(made, "complete", None))
