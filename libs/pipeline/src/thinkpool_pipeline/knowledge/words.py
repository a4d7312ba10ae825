"""Words as search and the builtin researcher see them: what carries a question's meaning, and when two are the same."""

import re
from functools import lru_cache

_WORD = re.compile(r"\w+(?:['’]\w+)*")
# Scripts that are written without blanks between words, or with few: Han, kana and hangul, and what stands among them.
_UNSPACED = re.compile(
    "[\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)

_STOP_WORDS = """
a about above after again against all also am among an and any anyone anything are aren't around as at be became
because become been before being below best better between both but by came can can't cannot come could couldn't
describe did didn't do does doesn't doing don't done down during each either else etc even ever every explain few find
for from further gave get gets give given go goes going good got great had happen happened happens has have haven't
having he her here hers herself him himself his how i i'd i'll i'm i've if in into is isn't it it's its itself just
know known let like made make makes many may me might mine more most much must my myself name named neither no nor not
of off often on once one only onto or other our ours ourselves out over own please put quite rather really said same
say see shall she should show since so some someone something still such take tell than that that's the their theirs
them themselves then there these they thing things this those through thus to too toward towards under until up upon
us use used uses using very via was wasn't way we well were weren't what what's whatever when where whether which
while who who's whom whose why will with within without won't work works would yes yet you you're your yours yourself
"""

STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that say how something is asked and not what about."""

_ENDINGS = ("ions", "ion", "ingly", "edly", "ings", "ing", "ies", "ied", "ers", "ed", "er", "es", "ly", "s", "e")
_FEWEST_LETTERS_LEFT = 3
_FEWEST_LEFT_OF = {"ion": 5, "ions": 5, "s": 2}  # or `station` would be `state`, and `ids` not `id`


def words(text: str) -> list[str]:
    """The words of a text in order, in lower case; apostrophes stay inside."""
    return _WORD.findall(spaced(text).lower())


def spaced(text: str) -> str:
    """The text with blanks between its words; Chinese, Japanese and Korean become each two characters that touch.

    Two neighbours are not a word, but what a word of them is found by: no dictionary tells where words begin. A text
    that is spaced already stays as it is.
    """
    return text if text.isascii() else _UNSPACED.sub(_pairs, text)


def searchable(text: str) -> str:
    """The text as it is indexed: `spaced`, and so that every character of those scripts begins something."""
    return text if text.isascii() else _UNSPACED.sub(_pairs_and_end, text)


def is_pair_start(word: str) -> bool:
    """Whether a word is a single character of those scripts, to be looked for as the beginning of what is indexed."""
    return len(word) == 1 and _UNSPACED.fullmatch(word) is not None


def _pairs(match: re.Match[str]) -> str:
    run = match.group()
    return f" {' '.join(run[place : place + 2] for place in range(max(1, len(run) - 1)))} "


def _pairs_and_end(match: re.Match[str]) -> str:
    run = match.group()
    return f" {' '.join(run[place : place + 2] for place in range(len(run)))} "


def content_words(text: str) -> list[str]:
    """The words that carry meaning, each once, in order. All words when none of them does."""
    every = list(dict.fromkeys(words(text)))
    return [word for word in every if word not in STOP_WORDS] or every


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word in lower case without its inflection: `resumes`, `resumed` and `resuming` have one stem."""
    word = word.removesuffix("'s").removesuffix("’s")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _FEWEST_LEFT_OF.get(ending, _FEWEST_LETTERS_LEFT):
            if ending == "s" and word.endswith(("ss", "us", "is")):
                continue
            word = word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
            break
    if len(word) > _FEWEST_LETTERS_LEFT and word[-1] == word[-2] and word[-1] not in "aeiouls0123456789":
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > _FEWEST_LETTERS_LEFT else word


def stems(text: str) -> frozenset[str]:
    """The stems of the words that carry meaning."""
    return frozenset(stem(word) for word in words(text) if word not in STOP_WORDS)
