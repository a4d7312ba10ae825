"""Events as the extended chat stream: the research as a tree of blocks, then the answer."""

from thinkpool_server.projections.task_blocks.labels import LANGUAGES, Language
from thinkpool_server.projections.task_blocks.stream import TaskStream

__all__ = ["LANGUAGES", "Language", "TaskStream"]
