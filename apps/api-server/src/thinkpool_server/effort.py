"""How much of the operator's budget an effort stands for: what `reasoning_effort` and `reasoning.effort` mean here."""

from typing import Literal, TypeAlias

from thinkpool_pipeline.values import Budget

Effort: TypeAlias = Literal["minimal", "low", "medium", "high"]
"""OpenAI's words."""

SHARES: dict[Effort, float] = {"minimal": 0.1, "low": 0.25, "medium": 0.5, "high": 1.0}
"""Of each figure of the operator's limit."""


def budget_for(effort: Effort | None, limit: Budget) -> Budget:
    """The budget of a run of this effort: a share of `limit`, and at least 1 of everything; None is all of it."""
    share = 1.0 if effort is None else SHARES[effort]
    return Budget(
        max_turns=max(1, int(limit.max_turns * share)),
        max_tool_calls=max(1, int(limit.max_tool_calls * share)),
        max_tokens=max(1, int(limit.max_tokens * share)),
        max_seconds=max(1.0, limit.max_seconds * share),
    )
