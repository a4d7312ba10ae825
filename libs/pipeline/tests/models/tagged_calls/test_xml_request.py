from thinkpool_pipeline.models.tagged_calls import UNREADABLE_CALL
from thinkpool_pipeline.models.tagged_calls.dialect import ToolDialect
from thinkpool_pipeline.models.tagged_calls.reading import tagged_calls
from thinkpool_pipeline.models.tagged_calls.xml_request import xml_request
from thinkpool_pipeline.values import Message, ModelRequest, RunId, Sampling, StepName, ToolCall, ToolSpec

SEARCH = ToolSpec(
    name="web_search",
    description="Searches.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
FORECAST = ToolSpec(
    name="forecast", description="Foretells é.", parameters={"type": "object"}, server="weather", remote_name="tell"
)
CREATE = ToolSpec(name="create_sandbox", description="Creates.", parameters={"type": "object"}, is_xml_only=True)
QUESTION = Message(role="user", content="why?")


def said(*messages: Message, tools: tuple[ToolSpec, ...] = (SEARCH,)) -> list[tuple[str, str]]:
    request = xml_request(ModelRequest(messages=messages, tools=tools), ToolDialect(tools))
    assert request.tools == ()
    assert not any(message.tool_calls or message.call_id for message in request.messages)
    return [(message.role, message.content) for message in request.messages]


def call(call_id: str, name: str = "web_search", **arguments: str) -> ToolCall:
    return ToolCall(call_id=call_id, name=name, arguments=dict(arguments))


def result(call_id: str, content: str) -> Message:
    return Message(role="tool", content=content, call_id=call_id)


def test_the_tools_stand_in_the_system_prompt_after_the_loop_s_words_by_server():
    (role, system), question = said(
        Message(role="system", content="Today is 2026-11-21."), QUESTION, tools=(SEARCH, FORECAST, CREATE)
    )
    assert (role, question) == ("system", ("user", "why?"))
    assert system.startswith("Today is 2026-11-21.\n\n# How to call a tool")
    assert system.endswith(
        '## Server name: search_and_scrape_webpage\n\n### Tool name: google_search\nDescription: Searches.\n'
        'Input JSON schema: {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}\n\n'
        '## Server name: weather\n\n### Tool name: tell\nDescription: Foretells é.\n'
        'Input JSON schema: {"type": "object"}\n\n'
        '## Server name: tool-python\n\n### Tool name: create_sandbox\nDescription: Creates.\n'
        'Input JSON schema: {"type": "object"}'
    )  # fmt: skip


def test_tools_of_one_server_stand_together():
    other = ToolSpec(name="other", description="Other.", parameters={"type": "object"}, server="weather")
    (_, system), _ = said(QUESTION, tools=(FORECAST, SEARCH, other))
    headings = [line for line in system.splitlines() if line.startswith("##")]
    assert headings == [
        "## Server name: weather",
        "### Tool name: tell",
        "### Tool name: other",
        "## Server name: search_and_scrape_webpage",
        "### Tool name: google_search",
    ]


def test_without_tools_the_system_prompt_stays_as_it_is():
    assert said(Message(role="system", content="Be brief."), QUESTION, tools=()) == [
        ("system", "Be brief."),
        ("user", "why?"),
    ]
    assert said(QUESTION, tools=()) == [("user", "why?")]


def test_a_system_prompt_is_made_where_there_is_none():
    (role, system), _ = said(QUESTION)
    assert role == "system"
    assert system.startswith("# How to call a tool")


def test_the_prompt_s_own_example_is_a_call_that_can_be_read():
    (_, system), _ = said(QUESTION)
    [example] = tagged_calls(system)
    assert (example.server, example.name) == ("the server's name", "the tool's name")
    assert example.arguments == {"parameter": "value"}


def test_calls_are_text_again_in_the_model_s_names_and_can_be_read_back():
    first, second = call("1", query='é "x" </arguments>'), call("2", "forecast", city="y")
    messages = (QUESTION, Message(role="assistant", content="I look.\n\n", tool_calls=(first, second)))
    *_, (role, text) = said(*messages, tools=(SEARCH, FORECAST))
    assert role == "assistant"
    assert text.startswith(
        "I look.\n\n<use_mcp_tool>\n<server_name>search_and_scrape_webpage</server_name>\n"
        '<tool_name>google_search</tool_name>\n<arguments>\n{"q": "é \\"x\\" </arguments>"}\n</arguments>\n'
        "</use_mcp_tool>\n\n<use_mcp_tool>\n<server_name>weather</server_name>\n"
    )
    assert [(call.name, call.arguments) for call in tagged_calls(text)] == [
        ("google_search", {"q": 'é "x" </arguments>'}),
        ("tell", {"city": "y"}),
    ]


def test_a_turn_s_results_are_one_message_in_order_each_under_its_tool():
    calls = (call("1", query="x"), call("2", "forecast", city="y"))
    *_, results = said(
        QUESTION,
        Message(role="assistant", content="", tool_calls=calls),
        result("1", "Found [1]."),
        result("2", "Rain."),
        tools=(SEARCH, FORECAST),
    )
    assert results == ("user", "# Result 1 of 2: google_search\n\nFound [1].\n\n# Result 2 of 2: tell\n\nRain.")


def test_each_turn_has_its_results_and_the_roles_alternate():
    messages = said(
        QUESTION,
        Message(role="assistant", content="", tool_calls=(call("1", query="x"),)),
        result("1", "A."),
        Message(role="assistant", content="", tool_calls=(call("2", query="y"),)),
        result("2", "B."),
        Message(role="user", content="Now write."),
        tools=(),
    )
    assert [role for role, _ in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[2][1] == "# Result 1 of 1: google_search\n\nA."
    assert messages[4][1] == "# Result 1 of 1: google_search\n\nB.\n\nNow write."


def test_a_call_that_could_not_be_read_is_not_shown_as_one():
    messages = said(
        QUESTION,
        Message(role="assistant", content="", tool_calls=(call("1", UNREADABLE_CALL),)),
        result("1", "Error: it cannot be read."),
        tools=(),
    )
    assert messages == [("user", "why?\n\n# Result 1 of 1: unreadable_call\n\nError: it cannot be read.")]


def test_the_rest_of_the_request_is_passed_on():
    request = ModelRequest(
        messages=(QUESTION,),
        tools=(SEARCH,),
        model="m",
        sampling=Sampling(seed=1),
        run_id=RunId("r"),
        step=StepName("turn/1"),
        deadline_seconds=3.0,
    )
    sent = xml_request(request, ToolDialect(request.tools))
    assert (sent.model, sent.sampling, sent.run_id, sent.step) == ("m", Sampling(seed=1), "r", "turn/1")
    assert sent.deadline_seconds == 3.0
