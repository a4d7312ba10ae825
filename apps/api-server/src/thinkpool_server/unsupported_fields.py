"""Fields of OpenAI's requests that the server does not honour: taken where they ask for what happens anyway."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from thinkpool_server.errors import UnsupportedField

Unsupported: TypeAlias = Mapping[str, tuple[object, ...]]
"""By name: the values of a field that change nothing here."""

CHAT_UNSUPPORTED: Unsupported = {
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "store": (True, False),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": ({},),
}
"""Of chat completions."""

RESPONSES_UNSUPPORTED: Unsupported = {
    "prompt_cache_retention": ("in_memory", "in-memory", "24h"),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
}
"""Of responses."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def refuse_unsupported(body: BaseModel, unsupported: Unsupported) -> None:
    """Lets a body pass whose fields besides those of its model change nothing.

    Raises:
        UnsupportedField: one of them asks for what does not happen.

    """
    for name, value in (body.model_extra or {}).items():
        if value is not None and not any(_is_same(value, known) for known in unsupported.get(name, ())):
            shown = name if _PLAIN_NAME.fullmatch(name) else "?"
            raise UnsupportedField(shown, f"The field {shown} is not supported by this server with this value.")


def described(unsupported: Unsupported) -> Callable[[dict[str, Any]], None]:
    """What adds these fields to their model's JSON schema, and says that any other one is null at most."""

    def describe(schema: dict[str, Any]) -> None:
        for name, values in unsupported.items():
            schema["properties"][name] = {"enum": [*values, None], "description": "Changes nothing."}
        schema["additionalProperties"] = {"type": "null"}

    return describe


def _is_same(value: object, known: object) -> bool:
    """Whether JSON has them for the same: there, unlike in Python, 0 is not false."""
    return value == known and isinstance(value, bool) == isinstance(known, bool)
