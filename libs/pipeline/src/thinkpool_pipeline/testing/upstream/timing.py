"""How long the simulated services take, as values: workload W of the benchmark, and no time at all for tests."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Durations and sizes of every simulated answer. The defaults are workload W."""

    first_token_seconds: float = 0.3
    """From a model request's arrival to its first token."""
    token_seconds: float = 0.01
    """Between one token and the next."""
    tokens_per_reply: int = 60
    """Tokens of every reply that no script ordered; at least 1."""
    reasoning_tokens: int = 0
    """How many of them, at the start, are thinking (`reasoning_content`)."""
    is_thinking_in_text: bool = False
    """Whether the thinking stands in the text, between think tags, instead."""
    search_seconds: float = 0.3
    page_seconds: float = 0.8
    page_bytes: int = 20_000
    """The most a page's text measures; it ends with the last sentence that fits."""

    @property
    def reply_seconds(self) -> float:
        """What one model call takes, from request to last token."""
        return self.first_token_seconds + (self.tokens_per_reply - 1) * self.token_seconds

    @property
    def run_seconds(self) -> float:
        """What one run of workload W takes at best: five model calls, a search and a page, one after the other."""
        return 5 * self.reply_seconds + self.search_seconds + self.page_seconds


PROFILES: Mapping[str, Timing] = {
    "w": Timing(),
    "short": Timing(first_token_seconds=0.03, token_seconds=0.001, search_seconds=0.03, page_seconds=0.08),
    "instant": Timing(first_token_seconds=0.0, token_seconds=0.0, search_seconds=0.0, page_seconds=0.0),
}
"""Named timings: `w` for measuring, `short` (ten times as fast) for a quick look, `instant` for tests."""
