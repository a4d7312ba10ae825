"""The tags in which models write tool calls into their text, and what becomes of one that people would see.

MiroThinker's `<use_mcp_tool>` with its three parts, and `<tool_call>`, which Qwen, Hermes and their kin write when the
server's own parser is off. Case and white space in a tag do not matter, nor what stands behind its name.
"""

import re

WRAPPERS = frozenset({"use_mcp_tool", "tool_call"})
"""What holds one call."""
PARTS = frozenset({"server_name", "tool_name", "arguments"})
"""What a `use_mcp_tool` holds."""

_NAMES = sorted(WRAPPERS | PARTS)
_TOLD_LETTERS = 3
"""A cut-off tag of fewer letters may as well be a word that a `<` stands before."""

TAG = re.compile(
    rf"<\s{{0,8}}(?P<slash>/?)\s{{0,8}}(?P<name>{'|'.join(_NAMES)})(?:[\s/][^<>]{{0,200}})?>", re.IGNORECASE | re.ASCII
)
_BEGUN = re.compile(
    rf"<\s{{0,8}}/?\s{{0,8}}(?:(?P<begun>[a-z_]*)|(?:{'|'.join(_NAMES)})[\s/][^<>]{{0,200}})", re.IGNORECASE | re.ASCII
)

_LIKE_A_TAG = re.compile(r"<(?=\s{0,8}/?\s{0,8}(?:use_|server_n|tool_n|tool_c|arguments))", re.IGNORECASE | re.ASCII)


def name_of(tag: re.Match[str]) -> str:
    """The name of a tag that `TAG` matched, in lower case."""
    return tag["name"].lower()


def neutral(tag: re.Match[str]) -> str:
    """A tag in other brackets: words for people, and syntax to nobody."""
    return f"‹{tag.group()[1:-1]}›"


def plain(text: str) -> str:
    """Text between tags; what begins like a tag and is none changes its bracket, too."""
    return _LIKE_A_TAG.sub("‹", text)


def begun_tag(text: str) -> int:
    """Where a tag begins that the text's end cuts off; the text's length if none does."""
    start = text.rfind("<")
    begun = _BEGUN.fullmatch(text, start) if start >= 0 else None
    if begun is None:
        return len(text)
    letters = (begun["begun"] or "").lower()
    return start if begun["begun"] is None or any(name.startswith(letters) for name in _NAMES) else len(text)


def is_cut_off_name(begun: str) -> bool:
    """Whether a cut-off tag ends within its name: at the end of a text it is neither a word nor a bracket."""
    return bool(re.fullmatch(r"[</\s]+[a-z_]+\s*|<\s*/\s*", begun, re.IGNORECASE | re.ASCII))


def is_telling(begun: str) -> bool:
    """Whether a cut-off tag is long enough to say that a call was begun."""
    return len(begun.strip("</ \t\r\n")) >= _TOLD_LETTERS
