"""The scenarios by name."""

from collections.abc import Mapping

from chaos.checker import Promises
from chaos.scenarios.cuts import cuts
from chaos.scenarios.database import database
from chaos.scenarios.embedded import EMBEDDED, embedded
from chaos.scenarios.freeze import freeze
from chaos.scenarios.idempotency import idempotency
from chaos.scenarios.kills import kills
from chaos.scenarios.limit import LIMITED, limit
from chaos.scenarios.rolling import rolling
from chaos.scenarios.soak import soak
from chaos.trial import Scenario

SCENARIOS: Mapping[str, Scenario] = {
    "embedded": Scenario(run=embedded, settings=EMBEDDED),
    "limit": Scenario(run=limit, settings=LIMITED),
    "idempotency": Scenario(run=idempotency),
    "cuts": Scenario(run=cuts),
    "rolling": Scenario(run=rolling),
    "kills": Scenario(run=kills),
    "freeze": Scenario(run=freeze, may_end_by_themselves=True),
    "database": Scenario(run=database, may_end_by_themselves=True),
    "soak": Scenario(
        run=soak,
        promises=Promises(must_complete=False),
        may_end_by_themselves=True,
        is_long_only=True,
        most_seconds=2400.0,
    ),
}
"""In the order in which all are run: those that need the same deployment stand together, and share it."""

__all__ = ["SCENARIOS"]
