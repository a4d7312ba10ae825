from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox, Sandboxes

__all__ = ["CodeResult", "Sandbox", "Sandboxes"]
