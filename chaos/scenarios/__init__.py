"""The scenarios by name."""

from collections.abc import Mapping

from chaos.scenarios.embedded import embedded
from chaos.scenarios.kills import kills
from chaos.trial import Scenario

SCENARIOS: Mapping[str, Scenario] = {"embedded": embedded, "kills": kills}
"""In the order in which `all` runs them."""

__all__ = ["SCENARIOS"]
