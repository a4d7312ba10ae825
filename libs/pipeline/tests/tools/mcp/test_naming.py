import re

from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.tools.mcp.naming import MAX_NAME_CHARACTERS, server_slugs, tool_names


def test_names_are_the_servers_own_made_plain() -> None:
    names = tool_names("files", ["read_file", "listDirectory", "move-file", "a.b/c", "tool__x"])
    assert list(names.values()) == [
        "files__read_file",
        "files__list_directory",
        "files__move_file",
        "files__a_b_c",
        "files__tool_x",
    ]


def test_names_that_come_to_the_same_are_told_apart_in_any_order() -> None:
    names = tool_names("s", ["get-x", "get_x", "other"])
    assert len(set(names.values())) == 3
    assert names["other"] == "s__other"
    assert tool_names("s", ["other", "get_x", "get-x"]) == names


def test_nameless_ones_get_a_name() -> None:
    assert tool_names("s", ["日本"]) == {"日本": "s__tool"}
    assert server_slugs(["日本"]) == {"日本": "server"}


def test_long_names_stay_within_the_limit_and_apart() -> None:
    long = ["x" * 200, "x" * 201]
    names = tool_names("s", long)
    assert all(len(name) <= MAX_NAME_CHARACTERS for name in names.values())
    assert len(set(names.values())) == 2


@given(st.lists(st.text(max_size=80), max_size=6, unique=True), st.lists(st.text(max_size=80), max_size=8, unique=True))
def test_no_two_tools_of_any_servers_have_one_name(servers: list[str], tools: list[str]) -> None:
    slugs = server_slugs(servers)
    names = [name for server in servers for name in tool_names(slugs[server], tools).values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]{1,64}", name) for name in names)
