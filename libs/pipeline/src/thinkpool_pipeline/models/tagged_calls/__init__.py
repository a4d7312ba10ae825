from thinkpool_pipeline.models.tagged_calls.model import TaggedCallsModel, ToolCallFormat, with_tool_call_format
from thinkpool_pipeline.models.tagged_calls.xml_request import UNREADABLE_CALL

__all__ = ["UNREADABLE_CALL", "TaggedCallsModel", "ToolCallFormat", "with_tool_call_format"]
