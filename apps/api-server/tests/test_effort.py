import pytest
from thinkpool_pipeline.values import Budget
from thinkpool_server.effort import Effort, budget_for

LIMIT = Budget(max_turns=20, max_tool_calls=100, max_tokens=1_000_000, max_seconds=3600)


@pytest.mark.parametrize(("effort", "turns"), [("minimal", 2), ("low", 5), ("medium", 10), ("high", 20), (None, 20)])
def test_an_effort_is_a_share_of_every_limit(effort: Effort | None, turns: int) -> None:
    share = turns / 20
    assert budget_for(effort, LIMIT) == Budget(
        max_turns=turns,
        max_tool_calls=int(100 * share),
        max_tokens=int(1_000_000 * share),
        max_seconds=3600 * share,
    )


def test_the_least_effort_under_the_least_limits_still_allows_one_of_each() -> None:
    least = Budget(max_turns=1, max_tool_calls=1, max_tokens=1, max_seconds=1)
    assert budget_for("minimal", least) == least
