"""What a model is told when the service behind a tool fails."""

from thinkpool_pipeline.errors import ToolError, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import DeadlinePassed, OutwardError


def tool_error(service: str, error: OutwardError) -> ToolError:
    """The error for the model: which service failed, and how, in the outward layer's own words."""
    kind = ToolTimeout if isinstance(error, DeadlinePassed) else ToolUnavailable
    return kind(f"{service} failed: {error}")
