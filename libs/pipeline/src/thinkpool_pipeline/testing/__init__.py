from thinkpool_pipeline.testing.event_checker import IllegalLog, check_event_log, check_pipeline_log, report_in
from thinkpool_pipeline.testing.memory_journal import MemoryJournal, SimulatedCrash
from thinkpool_pipeline.testing.scripted_model import Gate, Script, ScriptedModel, ScriptedTurn, calling
from thinkpool_pipeline.testing.scripted_run import ManualClock, asking, call_of, pipeline_of
from thinkpool_pipeline.testing.scripted_tool import ScriptedTool, passage_for_query

__all__ = [
    "Gate",
    "IllegalLog",
    "ManualClock",
    "MemoryJournal",
    "Script",
    "ScriptedModel",
    "ScriptedTool",
    "ScriptedTurn",
    "SimulatedCrash",
    "asking",
    "call_of",
    "calling",
    "check_event_log",
    "check_pipeline_log",
    "passage_for_query",
    "pipeline_of",
    "report_in",
]
