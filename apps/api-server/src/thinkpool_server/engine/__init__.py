"""The run engine: the durable queue with its limits, claims and recovery."""

from thinkpool_server.engine.dbos_engine import DbosEngine
from thinkpool_server.engine.protocol import Engine, EngineLimits, Execute, QueuedRun

__all__ = ["DbosEngine", "Engine", "EngineLimits", "Execute", "QueuedRun"]
