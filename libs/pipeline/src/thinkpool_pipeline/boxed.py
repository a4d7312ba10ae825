r"""Finds the short answer that a model puts into a box, `\boxed{...}`, as benchmarks ask for it."""

import re

_TOKEN = re.compile(r"(?P<box>\\+boxed\s*\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_TEXT_TOKEN = re.compile(
    r"(?P<text>\\(?:text|math)(?:bf|it|rm|sf|tt|normal)?\s*\{)|\\(?P<escaped>[%$&#_{} ])|\\."
    r"|(?P<open>\{)|(?P<close>\})",
    re.DOTALL,
)


def boxed_answer(text: str) -> str | None:
    r"""What stands in the last whole `\boxed{...}`, as plain as it gets; None without one, or if it is empty.

    Braces within it balance, escaped ones aside. `\text{...}` and its like are unwrapped, `\%` and its like unescaped.
    """
    open_at: list[int | None] = []  # where each open brace's content starts; None for one that is no box's
    last: tuple[int, int] | None = None
    for token in _TOKEN.finditer(text):
        if token["box"] or token["open"]:
            open_at.append(token.end() if token["box"] else None)
        elif token["close"] and open_at:
            start = open_at.pop()
            if start is not None and (last is None or start > last[0]):
                last = (start, token.start())
    return _plain(text[last[0] : last[1]]) or None if last else None


def _plain(content: str) -> str:
    pieces: list[str] = []
    is_wrapping: list[bool] = []
    position = 0
    for token in _TEXT_TOKEN.finditer(content):
        pieces.append(content[position : token.start()])
        position = token.end()
        if token["text"] or token["open"]:
            is_wrapping.append(bool(token["text"]))
            pieces.append(token["open"] or "")
        elif token["close"]:
            pieces.append("" if is_wrapping and is_wrapping.pop() else token["close"])
        else:
            pieces.append(token["escaped"] or token.group())
    return " ".join("".join([*pieces, content[position:]]).split())
