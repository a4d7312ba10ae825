"""Sandboxes at E2B, one a run."""

from thinkpool_pipeline.sandbox.e2b.sandboxes import E2BSandboxes, E2BStatistics
from thinkpool_pipeline.sandbox.e2b.settings import E2BSettings

__all__ = ["E2BSandboxes", "E2BSettings", "E2BStatistics"]
