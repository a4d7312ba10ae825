"""The words that models are given, one file each; `$name` stands for a value."""

from functools import cache
from importlib.resources import files
from string import Template

__all__ = ["prompt"]


def prompt(name: str, **values: str) -> str:
    """The text of `{name}.md` with its values put in, without white space around it."""
    return _template(name).substitute(values).strip()


@cache
def _template(name: str) -> Template:
    return Template(files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8"))
