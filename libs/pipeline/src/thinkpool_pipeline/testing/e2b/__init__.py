"""E2B's wire protocol on a loopback port, with faults on demand and a ledger of calls and sandboxes."""

from thinkpool_pipeline.testing.e2b.account_routes import AccountLimits
from thinkpool_pipeline.testing.e2b.faults import Fault, FaultPlan
from thinkpool_pipeline.testing.e2b.ledger import CallRecord, Ledger, SandboxRecord
from thinkpool_pipeline.testing.e2b.service import SimulatedE2B

__all__ = ["AccountLimits", "CallRecord", "Fault", "FaultPlan", "Ledger", "SandboxRecord", "SimulatedE2B"]
