import pytest
from thinkpool_pipeline.models.tagged_calls.visible_text import NeutralText, VisibleText

CALL = '<use_mcp_tool><tool_name>f</tool_name><arguments>{"a": 1}</arguments></use_mcp_tool>'


def seen(pieces: list[str]) -> tuple[str, str, bool]:
    """What people see of a text, everything from the first call on, and whether tags were left over."""
    text = VisibleText()
    shown = "".join([*(text.feed(piece) for piece in pieces), text.finish()])
    return shown, text.calls, text.has_leftovers


@pytest.mark.parametrize(
    ("text", "shown", "calls", "has_leftovers"),
    [
        ("plain", "plain", "", False),
        ("1 < 2 and <b>", "1 < 2 and <b>", "", False),
        ("", "", "", False),
        # calls
        (f"I look.\n{CALL}", "I look.\n", CALL, False),
        (f"I look. {CALL} It says: {CALL}", "I look. ", f"{CALL} It says: {CALL}", False),
        ("a <USE_MCP_TOOL\n>\n{}", "a ", "<USE_MCP_TOOL\n>\n{}", False),
        ("a <use_mcp_tool>\n```json\n{}", "a ", "<use_mcp_tool>\n```json\n{}", False),
        ('a <tool_call>{"name": "f"}', "a ", '<tool_call>{"name": "f"}', False),
        ("a <tool_call>\n<function=f>", "a ", "<tool_call>\n<function=f>", False),
        ("a <server_name>s</server_name>", "a ", "<server_name>s</server_name>", False),
        ("a <tool_name> f <arguments>", "a ", "<tool_name> f <arguments>", False),
        ('a <arguments> ```json\n{"a": 1}', "a ", '<arguments> ```json\n{"a": 1}', False),
        # calls that the reply's end cuts off
        ("a <use_mcp_tool>\n", "a ", "<use_mcp_tool>\n", False),
        ("a <tool_call>", "a ", "<tool_call>", False),
        ("a <use_mcp_to", "a ", "", True),
        ("a </use", "a ", "", True),
        ("a </", "a ", "", False),
        ("a <u", "a ", "", False),
        ("a <", "a <", "", False),
        ("a < ", "a < ", "", False),
        ("a <arguments you need", "a ‹arguments you need", "", False),
        # words about tags
        ("the <use_mcp_tool> tag", "the ‹use_mcp_tool› tag", "", True),
        ("the <tool_call id='1'> tag", "the ‹tool_call id='1'› tag", "", True),
        ("set <server_name> first", "set ‹server_name› first", "", False),
        ("call f <arguments>", "call f ‹arguments›", "", False),
        ("call f <arguments>`", "call f ‹arguments›`", "", False),
        ("a <tool_name>f", "a ‹tool_name›f", "", False),
        ("a <tool_name>f</tool_names>", "a ‹tool_name›f‹/tool_names>", "", False),
        ("a <use_mcp_tool" + " b" * 200 + ">", "a ‹use_mcp_tool" + " b" * 200 + ">", "", False),
        ("a <tool_call>" + " " * 300 + "{", "a ‹tool_call›" + " " * 300 + "{", "", True),
        ("a <use_mcp_more> b", "a ‹use_mcp_more> b", "", False),
        # what closes nothing
        ("done.</use_mcp_tool>", "done.", "", True),
        ("done. </arguments> So", "done.  So", "", True),
        ("a <tool</use_mcp_tool>_call> b", "a <tool‹/use_mcp_tool›_call> b", "", True),
        ("a <tool</tool_call></tool_call>_call> b", "a <tool‹/tool_call›_call> b", "", True),
        # quotations
        (f"`{CALL}`", "`" + CALL.replace("<", "‹").replace(">", "›") + "`", "", False),
        (f"```\n{CALL}\n```\n{CALL}", "```\n" + CALL.replace("<", "‹").replace(">", "›") + "\n```\n", CALL, False),
        ("`<use_mcp", "`", "", False),
        ("`<use_mcp_tool>` and <b>", "`‹use_mcp_tool›` and <b>", "", False),
    ],
)
def test_people_see_the_words_and_no_syntax_wherever_the_text_is_cut(text, shown, calls, has_leftovers):
    assert seen([text]) == (shown, calls, has_leftovers)
    assert seen(list(text)) == (shown, calls, has_leftovers)
    for place in range(1, len(text)):
        assert seen([text[:place], text[place:]]) == (shown, calls, has_leftovers)


def test_text_is_given_out_at_once_and_what_may_become_a_tag_is_held_back():
    text = VisibleText()
    assert [text.feed(piece) for piece in ("plain ", "a < b", " <to", "ol_box> ", "<tool_", "call", ">")] == [
        "plain ",
        "a < b",
        " ",
        "<tool_box> ",
        "",
        "",
        "",
    ]
    assert text.feed("\n") == ""
    assert text.feed("is a tag") == "‹tool_call›\nis a tag"


def test_after_a_call_nothing_is_seen_and_everything_is_kept():
    text = VisibleText()
    assert text.feed(f"a {CALL}") == "a "
    assert text.feed("hallucinated") == ""
    assert text.finish() == ""
    assert text.calls == f"{CALL}hallucinated"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        (CALL, CALL.replace("<", "‹").replace(">", "›")),
        ("a <use_mcp", "a "),
        ("a <", "a <"),
        ("a <arguments to", "a ‹arguments to"),
        ("a <b", "a <b"),
    ],
)
def test_thinking_shows_no_syntax_either_wherever_it_is_cut(text, shown):
    for pieces in ([text], list(text)):
        thinking = NeutralText()
        assert "".join([*(thinking.feed(piece) for piece in pieces), thinking.finish()]) == shown


@pytest.mark.parametrize(
    "text",
    [
        "<" * 30_000,
        "<tool_name>" * 3_000,
        "</tool_call>" * 3_000,
        "<tool_name>" + " " * 30_000,
        "`" * 30_000 + "<tool_call>",
        "<use_mcp_tool " * 3_000,
    ],
)
def test_hostile_text_is_read_in_time_in_proportion_to_its_length(text):
    assert "<tool_call>" not in seen(list(text))[0]
