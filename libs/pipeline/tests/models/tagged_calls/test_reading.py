import pytest
from thinkpool_pipeline.models.tagged_calls.reading import CUT_OFF, MAX_CALLS, NAMELESS, TaggedCall, tagged_calls

SEARCH = TaggedCall(server="s", name="f", arguments={"q": "x"})
HEAD = "<use_mcp_tool>\n<server_name>s</server_name>\n<tool_name>f</tool_name>\n<arguments>"
TAIL = "</arguments>\n</use_mcp_tool>"


@pytest.mark.parametrize(
    "text",
    [
        f'{HEAD}\n{{"q": "x"}}\n{TAIL}',
        f'{HEAD}{{"q": "x"}}</arguments>',
        f'{HEAD}{{"q": "x"}}',
        f'{HEAD}{{"q": "x"}}\n</use_mcp_tool>',
        f'{HEAD}```json\n{{"q": "x"}}\n```{TAIL}',
        f"{HEAD}```\n{{'q': 'x'}}\n```{TAIL}",
        f'{HEAD}{{"q": "x",}}{TAIL}',
        f"{HEAD}{{q: 'x'}}{TAIL}",
        f'{HEAD}{{"q": "x"{TAIL}',
        f'{HEAD}{{"q": "x"}}}}{TAIL}',
        f'{HEAD.upper().replace("S<", "s<").replace("F<", "f<")}{{"q": "x"}}{TAIL.upper()}',
        f'<use_mcp_tool><tool_name>f</tool_name><server_name>s</server_name><arguments>{{"q": "x"}}{TAIL}',
        f'<use_mcp_tool><arguments>{{"q": "x"}}</arguments><server_name>s</server_name><tool_name>f</tool_name>{TAIL}',
        f'<use_mcp_tool><server_name>s<tool_name> "f"\n<arguments>{{"q": "x"}}{TAIL}',
        f'<use_mcp_tool><server_name>s</server_name><tool_name>`f`</tool_name><arguments>{{"q": "x"}}{TAIL}',
        '<server_name>s</server_name><tool_name>f</tool_name><arguments>{"q": "x"}</arguments>',
        '<use_mcp_tool>{"server_name": "s", "tool_name": "f", "arguments": {"q": "x"}}</use_mcp_tool>',
        '<use_mcp_tool>{"server_name": "s", "tool_name": "f", "parameters": "{\\"q\\": \\"x\\"}"}</use_mcp_tool>',
    ],
)
def test_a_call_is_read_as_it_was_meant(text):
    assert tagged_calls(text) == (SEARCH,)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"q": "x"}}\n</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"q": "x"}}',
        '<tool_call>```json\n{"name": "f", "arguments": {"q": "x"},}\n```</tool_call>',
        '<tool_call>{"name": "f", "parameters": {"q": "x"}}</tool_call>',
        '<tool_call>{"type": "function", "function": {"name": "f", "arguments": "{\\"q\\": \\"x\\"}"}}</tool_call>',
        "<tool_call>\n<function=f>\n<parameter=q>\nx\n</parameter>\n</function>\n</tool_call>",
        '<tool_call><function = "f"><parameter=q>x</tool_call>',
    ],
)
def test_calls_of_other_families_are_read_too(text):
    assert tagged_calls(text) == (TaggedCall(name="f", arguments={"q": "x"}),)


def test_parameters_of_a_function_are_text_unless_they_are_json():
    text = (
        "<tool_call><function=f><parameter=a>\nline 1\n\nline 2\n</parameter><parameter=b>[1, 2]</parameter>"
        "<parameter=c>{no json</parameter></function></tool_call>"
    )
    assert tagged_calls(text) == (
        TaggedCall(name="f", arguments={"a": "line 1\n\nline 2", "b": [1, 2], "c": "{no json"}),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a </arguments> b"', "a </arguments> b"),
        ('"</use_mcp_tool><use_mcp_tool><tool_name>g"', "</use_mcp_tool><use_mcp_tool><tool_name>g"),
        ('"print(1)\nprint(2)"', "print(1)\nprint(2)"),
        ('"é \\u00e9 \\ud83d\\ude00"', "é é 😀"),
        ('"a \\ud800 b"', "a \ufffd b"),
        ('"``` json"', "``` json"),
    ],
)
def test_texts_in_arguments_may_hold_anything(text, value):
    assert tagged_calls(f'{HEAD}{{"q": {text}}}{TAIL}') == (TaggedCall(server="s", name="f", arguments={"q": value}),)


def test_tags_in_broken_json_do_not_begin_another_call():
    [call] = tagged_calls(f"{HEAD}{{'q': '<tool_name>g</tool_name>'}}{TAIL}")
    assert (call.name, call.arguments) == ("f", {"q": "<tool_name>g</tool_name>"})


@pytest.mark.parametrize(
    "text",
    [
        f'{HEAD}{{"q": "x"}}{TAIL}\n{HEAD}{{"q": "x"}}{TAIL}',
        f'{HEAD}{{"q": "x"}}{TAIL} Result: none. {HEAD}{{"q": "x"}}{TAIL}',
        f'{HEAD}{{"q": "x"}}{HEAD}{{"q": "x"}}',
        f'{HEAD}{{"q": "x",}}{HEAD}{{"q": "x",}}',
        '<server_name>s<tool_name>f<arguments>{"q": "x"}</arguments>'
        '<server_name>s<tool_name>f<arguments>{"q": "x"}</arguments>',
        f'{HEAD}{{"q": "x"}}{TAIL}<server_name>s</server_name><tool_name>f</tool_name><arguments>{{"q": "x"}}',
        f'{HEAD}{{"q": "x"}}{TAIL}<use_mcp_tool></use_mcp_tool>{HEAD}{{"q": "x"}}{TAIL}',
    ],
)
def test_several_calls_are_read_in_order_whatever_stands_between(text):
    assert tagged_calls(text) == (SEARCH, SEARCH)


def test_calls_of_different_forms_may_follow_one_another():
    text = f'{HEAD}{{"q": "x"}}{TAIL}<tool_call>{{"name": "g"}}</tool_call>'
    assert tagged_calls(text) == (SEARCH, TaggedCall(name="g"))


@pytest.mark.parametrize(
    ("text", "is_cut_off", "call"),
    [
        (f"{HEAD}{TAIL}", False, TaggedCall(server="s", name="f")),
        (f"{HEAD}please search{TAIL}", False, TaggedCall(server="s", name="f", malformed="not JSON")),
        (f"{HEAD}[1]{TAIL}", False, TaggedCall(server="s", name="f", malformed="not a JSON object")),
        (f'{HEAD}{{"q": NaN}}{TAIL}', False, TaggedCall(server="s", name="f", arguments={"q": "NaN"})),
        (f'{HEAD}{{"q": "cut o', False, TaggedCall(server="s", name="f", arguments={"q": "cut o"})),
        (f'{HEAD}{{"q": "cut o', True, TaggedCall(server="s", name="f", malformed=CUT_OFF)),
        (f"{HEAD}", True, TaggedCall(server="s", name="f", malformed=CUT_OFF)),
        ("<use_mcp_tool><tool_name>f", True, TaggedCall(name="f", malformed=CUT_OFF)),
        (f'{HEAD}{{"q": "x"}}', True, SEARCH),
        (f'{HEAD}{{"q": "x",}}</arguments>', True, SEARCH),
        ("<use_mcp_tool>", True, TaggedCall(malformed=CUT_OFF)),
        ("<use_mcp_tool>", False, TaggedCall(malformed=NAMELESS)),
        ('<arguments>{"q": "x"}</arguments>', False, TaggedCall(malformed=NAMELESS)),
        ("<tool_call>some words</tool_call>", False, TaggedCall(malformed="not JSON")),
        ('<tool_call>{"name": 7}</tool_call>', False, TaggedCall(malformed=NAMELESS)),
        ('<tool_call>{"name": "f", "arguments": [1]}', False, TaggedCall(name="f", malformed="not a JSON object")),
    ],
)
def test_what_cannot_be_made_says_why(text, is_cut_off, call):
    assert tagged_calls(text, is_cut_off=is_cut_off) == (call,)


def test_only_the_last_call_can_be_cut_off():
    first, last = tagged_calls(f'{HEAD}{{"q": "x",}}{HEAD}{{"q": "x",', is_cut_off=True)
    assert (first, last.malformed) == (SEARCH, CUT_OFF)


def test_of_many_calls_only_so_many_are_read():
    assert len(tagged_calls('<tool_call>{"name": "f"}</tool_call>' * (MAX_CALLS + 10))) == MAX_CALLS
    assert len(tagged_calls('<tool_call>{"name": "f"}' * (MAX_CALLS + 10))) == MAX_CALLS


@pytest.mark.parametrize("text", ["", "no tags", "</arguments>", "</use_mcp_tool> so"])
def test_a_text_without_a_call_has_none(text):
    assert tagged_calls(text) == ()


def test_hostile_calls_are_read_in_time_in_proportion_to_their_length():
    deep = tagged_calls("<use_mcp_tool><tool_name>f<arguments>" + '{"a":' * 100_000)
    assert [call.malformed for call in deep] == ["not JSON"]
    assert tagged_calls("<use_mcp_tool>" * 200_000)[0].malformed == NAMELESS
    assert tagged_calls("<tool_call>" + "<parameter=a>" * 100_000)[0].name == ""
