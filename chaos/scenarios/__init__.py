"""The scenarios by name."""

from collections.abc import Mapping

from chaos.scenarios.cuts import cuts
from chaos.scenarios.database import database
from chaos.scenarios.embedded import embedded
from chaos.scenarios.freeze import freeze
from chaos.scenarios.idempotency import idempotency
from chaos.scenarios.kills import kills
from chaos.scenarios.limit import limit
from chaos.scenarios.rolling import rolling
from chaos.scenarios.soak import soak
from chaos.trial import Scenario

SCENARIOS: Mapping[str, Scenario] = {
    "embedded": embedded,
    "kills": kills,
    "freeze": freeze,
    "database": database,
    "cuts": cuts,
    "limit": limit,
    "idempotency": idempotency,
    "rolling": rolling,
    "soak": soak,
}
"""In the order in which `all` runs them."""

__all__ = ["SCENARIOS"]
