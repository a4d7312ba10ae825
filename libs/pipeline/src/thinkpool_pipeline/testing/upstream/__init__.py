"""A simulated model, search and page reader on one loopback port, with faults on demand and a ledger of every call."""

from thinkpool_pipeline.testing.upstream.faults import Fault, FaultPlan
from thinkpool_pipeline.testing.upstream.ledger import Ledger, LedgerEntry
from thinkpool_pipeline.testing.upstream.replies import Reply, ReplyCall, Script, ScriptedStep
from thinkpool_pipeline.testing.upstream.service import SimulatedUpstream
from thinkpool_pipeline.testing.upstream.timing import PROFILES, Timing

__all__ = [
    "PROFILES",
    "Fault",
    "FaultPlan",
    "Ledger",
    "LedgerEntry",
    "Reply",
    "ReplyCall",
    "Script",
    "ScriptedStep",
    "SimulatedUpstream",
    "Timing",
]
