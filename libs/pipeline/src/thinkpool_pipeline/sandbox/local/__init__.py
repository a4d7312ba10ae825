from thinkpool_pipeline.sandbox.local.bubblewrap import SandboxesUnavailable
from thinkpool_pipeline.sandbox.local.probe import SandboxProbe, probe
from thinkpool_pipeline.sandbox.local.sandboxes import LocalSandboxes
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings

__all__ = ["LocalSandboxSettings", "LocalSandboxes", "SandboxProbe", "SandboxesUnavailable", "probe"]
