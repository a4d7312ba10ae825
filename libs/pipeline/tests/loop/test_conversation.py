"""What the model reads: the newest results in full, older ones as stubs, and never more than its window holds."""

import pytest
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.loop.conversation import Conversation
from thinkpool_pipeline.values import (
    CitedPassage,
    Message,
    ModelReply,
    Passage,
    SourceId,
    ToolCall,
    ToolResult,
    Usage,
)

REPORT = Message(role="user", content="Write.")


def conversation_of(turns: int, *, chars: int = 400, **settings: int) -> Conversation:
    conversation = Conversation(
        [Message(role="system", content="Rules."), Message(role="user", content="Why?")],
        LoopSettings(**settings),
        max_output_tokens=100,
    )
    for turn in range(1, turns + 1):
        add_turn(conversation, turn, chars=chars)
    return conversation


def add_turn(conversation: Conversation, turn: int, *, chars: int = 400, usage: Usage | None = None) -> None:
    call = ToolCall(call_id=f"c{turn}", name="search", arguments={"query": f"q{turn}"})
    conversation.add_reply(ModelReply(text="", tool_calls=(call,), usage=usage or Usage()))
    passage = Passage(document=f"d{turn}", title="T", text="Text.")
    cited = (CitedPassage(source_id=SourceId(turn), passage=passage),)
    content = f"Result {turn}. ".ljust(chars, "x")
    conversation.add_results(
        [ToolResult(call_id=call.call_id, name="search", ok=True, content=content, passages=cited)]
    )


def shown(messages: tuple[Message, ...]) -> list[int]:
    return [
        number
        for number, message in enumerate((message for message in messages if message.role == "tool"), 1)
        if message.content.startswith(f"Result {number}.")
    ]


def test_only_the_newest_results_are_shown_in_full() -> None:
    conversation = conversation_of(5, keep_tool_results=2)

    messages = conversation.for_research()

    assert shown(messages) == [4, 5]
    stub = messages[3]
    assert stub.content.startswith("[This result of search was left out to save room. It gave the sources [1].")
    assert "\n" not in stub.content
    assert stub.passages[0].source_id == 1
    assert [message.call_id for message in messages if message.role == "tool"] == [f"c{n}" for n in range(1, 6)]
    assert repr(conversation) == "<Conversation [12 messages, 5 tool results]>"


@pytest.mark.parametrize(("keep", "expected"), [(-1, [1, 2, 3]), (0, []), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_how_many_results_are_shown_is_a_setting(keep: int, expected: list[int]) -> None:
    conversation = conversation_of(3, keep_tool_results=keep)

    assert shown(conversation.for_research()) == expected
    assert [n for n in (1, 2, 3) if conversation.is_shown(f"c{n}")] == expected


def test_the_writer_reads_every_result_that_the_window_holds() -> None:
    assert shown(conversation_of(5, keep_tool_results=1).for_report(REPORT)) == [1, 2, 3, 4, 5]


def test_the_writer_reads_the_newest_results_of_a_conversation_too_long_for_the_window() -> None:
    conversation = conversation_of(5, keep_tool_results=1, context_tokens=1_520)

    messages = conversation.for_report(REPORT)

    assert shown(messages) == [4, 5]
    assert messages[-1] is REPORT


def test_the_providers_own_figures_correct_the_estimate() -> None:
    conversation = conversation_of(3, context_tokens=1_800)
    assert shown(conversation.for_report(REPORT)) == [1, 2, 3]
    add_turn(conversation, 4, usage=Usage(input_tokens=900, output_tokens=10))

    assert shown(conversation.for_report(REPORT)) == [4]


def test_shrinking_leaves_one_result_cut_to_the_window_and_happens_once() -> None:
    conversation = conversation_of(3, chars=5_000, context_tokens=1_000)

    assert conversation.shrink()
    assert not conversation.shrink()

    for messages in (conversation.for_research(), conversation.for_report(REPORT)):
        assert shown(messages) == [3]
        last = next(message for message in reversed(messages) if message.role == "tool")
        assert last.content.endswith("[Cut here: 4000 more characters.]")


def test_a_short_result_is_not_cut_by_shrinking() -> None:
    conversation = conversation_of(2)
    conversation.shrink()

    assert "Cut here" not in conversation.for_research()[-1].content


def test_there_is_room_for_a_turn_until_the_window_is_nearly_full() -> None:
    conversation = conversation_of(0, context_tokens=10_000)
    assert conversation.has_room_for_a_turn(REPORT)

    add_turn(conversation, 1, usage=Usage(input_tokens=8_000, output_tokens=500))
    assert conversation.has_room_for_a_turn(REPORT)

    add_turn(conversation, 2, chars=1_200, usage=Usage(input_tokens=8_000, output_tokens=500))
    assert not conversation.has_room_for_a_turn(REPORT)


def test_a_small_window_has_room_for_research_too() -> None:
    conversation = Conversation(
        [Message(role="user", content="Why?")], LoopSettings(context_tokens=4_096), max_output_tokens=8_192
    )

    assert conversation.has_room_for_a_turn(REPORT)


def test_results_that_became_stubs_make_room() -> None:
    conversation = conversation_of(0, context_tokens=10_000, keep_tool_results=1)
    add_turn(conversation, 1, chars=8_000)
    add_turn(conversation, 2, usage=Usage(input_tokens=8_400, output_tokens=500))

    assert conversation.has_room_for_a_turn(REPORT)


def test_a_turn_that_said_and_called_nothing_is_left_out() -> None:
    conversation = conversation_of(0)
    conversation.add_reply(ModelReply(text="", usage=Usage(input_tokens=5)))

    assert [message.role for message in conversation.for_research()] == ["system", "user"]
