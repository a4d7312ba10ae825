from thinkpool_pipeline.testing.event_checker import IllegalLog, check_event_log, check_pipeline_log, report_in
from thinkpool_pipeline.testing.memory_journal import MemoryJournal, SimulatedCrash
from thinkpool_pipeline.testing.scripted_model import Gate, Script, ScriptedModel, ScriptedTurn, calling
from thinkpool_pipeline.testing.scripted_tool import ScriptedTool, passage_for_query

__all__ = [
    "Gate",
    "IllegalLog",
    "MemoryJournal",
    "Script",
    "ScriptedModel",
    "ScriptedTool",
    "ScriptedTurn",
    "SimulatedCrash",
    "calling",
    "check_event_log",
    "check_pipeline_log",
    "passage_for_query",
    "report_in",
]
