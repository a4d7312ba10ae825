from thinkpool_pipeline.testing.memory_journal import MemoryJournal, SimulatedCrash
from thinkpool_pipeline.testing.scripted_model import Gate, Script, ScriptedModel, ScriptedTurn, calling
from thinkpool_pipeline.testing.scripted_tool import ScriptedTool, passage_for_query

__all__ = [
    "Gate",
    "MemoryJournal",
    "Script",
    "ScriptedModel",
    "ScriptedTool",
    "ScriptedTurn",
    "SimulatedCrash",
    "calling",
    "passage_for_query",
]
