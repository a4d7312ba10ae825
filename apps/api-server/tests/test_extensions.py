"""What `EXTRA_TOOLS` and `EXTRA_MODELS` name is found, and what it is not is said."""

import pytest
from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_server.extensions import make_extra_models, make_extra_tools


def test_a_tool_and_a_model_are_made_anew_each_time() -> None:
    names = ["thinkpool_pipeline.testing.scripted_tool:ScriptedTool"]
    (first,), (second,) = make_extra_tools(names), make_extra_tools(names)
    assert first.spec.name == "search"
    assert first is not second
    (model,) = make_extra_models(["thinkpool_pipeline.testing.scripted_model:ScriptedModel"])
    assert model.name == "scripted"


@pytest.mark.parametrize(
    "name",
    [
        "no_such_module_here:Tool",
        "thinkpool_pipeline.values:NoSuchName",
        "thinkpool_pipeline.values:ToolSpec",
        "thinkpool_pipeline.values:Usage",
        "thinkpool_pipeline.values:JsonObject",
    ],
)
def test_what_is_no_tool_stops_the_start_and_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"EXTRA_TOOLS names {name}"):
        make_extra_tools([name])


def test_what_is_no_model_stops_the_start_and_is_named() -> None:
    with pytest.raises(ConfigurationError, match="EXTRA_MODELS names"):
        make_extra_models(["thinkpool_pipeline.testing.scripted_tool:ScriptedTool"])
