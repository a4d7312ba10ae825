from thinkpool_pipeline.loop.allowed_tools import AllowedTools
from thinkpool_pipeline.loop.research_loop import ResearchLoop
from thinkpool_pipeline.loop.settings import LoopParts, LoopSettings

__all__ = ["AllowedTools", "LoopParts", "LoopSettings", "ResearchLoop"]
