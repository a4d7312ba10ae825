"""How a model that was trained on `use_mcp_tool` tags reads a conversation: tools in the system prompt, results in the
user's messages.
"""

import re
from collections.abc import Iterable, Iterator

_LISTED = re.compile(r"^#+ (Server|Tool) name: *(.+?) *$", re.MULTILINE)
_RESULT = re.compile(r"^# Result \d+ of \d+: (.*)$", re.MULTILINE)


def is_tagged_call(text: str) -> bool:
    """Whether an assistant's message holds a call."""
    return "<use_mcp_tool>" in text


def listed_servers(system: str) -> dict[str, str]:
    """The tools that a system prompt lists, in order, and each one's server; empty if it lists none."""
    servers: dict[str, str] = {}
    server = ""
    for heading in _LISTED.finditer(system):
        if heading[1] == "Server":
            server = heading[2]
        else:
            servers[heading[2]] = server
    return servers


def tagged_results(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The results in a conversation, given as roles and texts: each one's tool and its text, oldest first."""
    is_awaited = False
    for role, text in said:
        if role == "user" and is_awaited:
            headings = list(_RESULT.finditer(text))
            ends = [heading.start() for heading in headings[1:]] + [len(text)]
            for heading, end in zip(headings, ends, strict=False):
                yield heading[1], text[heading.end() : end]
        is_awaited = role == "assistant" and is_tagged_call(text)
