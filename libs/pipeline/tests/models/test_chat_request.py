import orjson
from thinkpool_pipeline.models.chat_request import chat_body
from thinkpool_pipeline.values import Message, ModelRequest, Sampling, ToolCall, ToolSpec

SPEC = ToolSpec(name="web_search", description="Searches.", parameters={"type": "object", "properties": {}})


def body_of(request: ModelRequest, base_url: str = "http://127.0.0.1/v1") -> dict:
    return orjson.loads(chat_body(request, model="m", base_url=base_url))


def test_a_conversation_with_calls_and_their_results_is_written_as_the_format_asks():
    call = ToolCall(call_id="c1", name="web_search", arguments={"query": "é"})
    body = body_of(
        ModelRequest(
            messages=(
                Message(role="system", content="s"),
                Message(role="user", content="u"),
                Message(role="assistant", content="", tool_calls=(call,)),
                Message(role="tool", content="r", call_id="c1"),
                Message(role="assistant", content="a"),
            ),
            tools=(SPEC,),
        )
    )
    function = {"name": "web_search", "arguments": '{"query":"é"}'}
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
            {"role": "assistant", "content": "a"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {"name": "web_search", "description": "Searches.", "parameters": SPEC.parameters},
            }
        ],
    }


def test_sampling_is_passed_on_and_nothing_is_made_up():
    sampling = Sampling(temperature=0.0, top_p=0.9, max_output_tokens=7, seed=0, stop=("END",))
    asked = ModelRequest(messages=(), sampling=sampling)
    expected = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 7, "seed": 0, "stop": ["END"]}
    assert expected.items() <= body_of(asked).items()
    assert body_of(asked, "https://api.openai.com/v1")["max_completion_tokens"] == 7
    assert set(body_of(ModelRequest(messages=()))) == {"model", "messages", "stream", "stream_options"}


def test_text_that_no_utf8_can_carry_is_sent_with_replacements():
    body = body_of(ModelRequest(messages=(Message(role="user", content="a\ud800b"),)))
    assert body["messages"][0]["content"] == "a?b"
