from thinkpool_pipeline.models.researcher.investigation import investigation
from thinkpool_pipeline.values import Message, ModelRequest, ToolCall, ToolSpec

TOOLS = (ToolSpec(name="search_documents", description="Searches.", parameters={"type": "object"}),)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def test_the_question_is_the_last_one_before_the_first_call():
    messages = (
        Message(role="system", content="s"),
        user("first"),
        Message(role="assistant", content="a"),
        user("second"),
    )
    assert investigation(ModelRequest(messages=messages, tools=TOOLS)).question == "second"
    calls = (ToolCall(call_id="1", name="search_documents", arguments={"query": "q"}),)
    called = (*messages, Message(role="assistant", content="", tool_calls=calls), user("a hint"))
    assert investigation(ModelRequest(messages=called, tools=TOOLS)).question == "second"


def test_the_request_for_the_report_is_not_the_question():
    messages = (user("question"), Message(role="assistant", content="done"), user("Now write the report"))
    assert investigation(ModelRequest(messages=messages)).question == "question"
    assert investigation(ModelRequest(messages=messages[:1])).question == "question"
    assert investigation(ModelRequest(messages=())).question == ""


def test_findings_are_told_by_turn_and_each_text_of_a_source_once(cited):
    one, two = cited(1, "A", "a"), cited(2, "B", "b")
    calls = [ToolCall(call_id=f"{n}", name="search_documents", arguments={"query": f"q{n}"}) for n in range(2)]
    reading = ToolCall(call_id="r", name="read_document", arguments={"id": "A.md"})
    messages = (
        user("question"),
        Message(role="assistant", content="", tool_calls=tuple(calls)),
        Message(role="tool", content="", call_id="0", passages=(one, two)),
        Message(role="tool", content="", call_id="1", passages=(two,)),
        Message(role="assistant", content="", tool_calls=(reading,)),
        Message(role="tool", content="", call_id="r", passages=(one,)),
        Message(role="tool", content="", call_id="unknown", passages=(one,)),
    )
    known = investigation(ModelRequest(messages=messages, tools=TOOLS))
    assert known.turns == 2
    assert known.queries == ("q0", "q1")
    assert known.read == {"A.md"}
    assert known.evidence == (one, two)
    assert [finding.call for finding in known.of_turn(2)] == [reading]
