import pytest
from pydantic import JsonValue
from thinkpool_pipeline.models.tagged_calls.dialect import NamedCall, ShownTool, ToolDialect
from thinkpool_pipeline.values import JsonObject, ToolSpec

TEXT: JsonObject = {"type": "string"}
RANGES: JsonObject = {"type": "string", "enum": ["day", "week", "month", "year"]}
NUMBER: JsonObject = {"type": "integer", "minimum": 1, "maximum": 20}


def spec(name: str, *required: str, server: str = "", remote_name: str = "", **properties: JsonValue) -> ToolSpec:
    schema: JsonObject = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name=name, description=f"{name}.", parameters=schema, server=server, remote_name=remote_name)


SEARCH = spec("web_search", "query", query=TEXT, num_results=NUMBER, time_range=RANGES)
READ_PAGE = spec("read_page", "url", url=TEXT, question=TEXT)
RUN_PYTHON = spec("run_python", "code", code=TEXT)
RUN_COMMAND = spec("run_command", "command", command=TEXT)
FIND = spec("search_documents", "query", query=TEXT)
READ = spec("read_document", "id", id=TEXT, offset={"type": "integer"})
CREATE = spec("create_sandbox")
WEATHER = spec("weather_forecast", "city", server="weather", remote_name="forecast", city=TEXT)
OWN = spec("days_between", first=TEXT)
ALL = (SEARCH, READ_PAGE, RUN_PYTHON, RUN_COMMAND, FIND, READ, CREATE, WEATHER, OWN)


def ours(server: str, name: str, *specs: ToolSpec, **arguments: JsonValue) -> tuple[str, JsonObject]:
    call = ToolDialect(specs or ALL).ours(NamedCall(server=server, name=name, arguments=arguments))
    return call.name, call.arguments


def test_tools_are_shown_under_the_names_and_servers_they_were_trained_under():
    places = [(tool.server, tool.name) for tool in ToolDialect(ALL).shown()]
    assert places == [
        ("search_and_scrape_webpage", "google_search"),
        ("jina_scrape_llm_summary", "scrape_and_extract_info"),
        ("tool-python", "run_python_code"),
        ("tool-python", "run_command"),
        ("tool-reader", "search_documents"),
        ("tool-reader", "convert_to_markdown"),
        ("tool-python", "create_sandbox"),
        ("weather", "forecast"),
        ("tools", "days_between"),
    ]


def test_parameters_are_shown_under_their_trained_names():
    search, page, program, *_ = ToolDialect((SEARCH, READ_PAGE, RUN_PYTHON)).shown()
    assert search == ShownTool(
        server="search_and_scrape_webpage",
        name="google_search",
        description="web_search.",
        parameters={
            "type": "object",
            "properties": {
                "q": TEXT,
                "num": NUMBER,
                "tbs": {"type": "string", "enum": ["qdr:d", "qdr:w", "qdr:m", "qdr:y"]},
            },
            "required": ["q"],
        },
    )
    assert page.parameters["properties"] == {"url": TEXT, "info_to_extract": TEXT}
    assert list(program.parameters["properties"]) == ["code_block", "sandbox_id"]
    assert program.parameters["required"] == ["code_block"]


def test_tools_of_servers_and_tools_of_one_s_own_are_shown_as_they_are():
    assert [tool.parameters for tool in ToolDialect((WEATHER, OWN)).shown()] == [WEATHER.parameters, OWN.parameters]


def test_a_search_comes_back_in_our_names():
    assert ours("search_and_scrape_webpage", "google_search", q="x", num=5, tbs="qdr:w") == (
        "web_search",
        {"query": "x", "num_results": 5, "time_range": "week"},
    )


def test_what_a_search_does_not_take_is_left_out_and_what_it_takes_is_kept():
    needless = {"gl": "us", "hl": "en", "location": "Paris", "autocorrect": True, "page": 2}
    wide = spec("web_search", query=TEXT, country=TEXT, language=TEXT, location=TEXT, autocorrect={}, page={})
    assert ours("", "google_search", q="x", **needless)[1] == {"query": "x", "page": 2}
    assert ours("", "google_search", wide, q="x", **needless)[1] == {
        "query": "x",
        "country": "us",
        "language": "en",
        "location": "Paris",
        "autocorrect": True,
        "page": 2,
    }


@pytest.mark.parametrize(
    ("tbs", "time_range"),
    [("qdr:d", "day"), ("qdr:w", "week"), ("qdr:m6", "month"), ("QDR:y", "year"), ("week", "week"), ("year", "year")],
)
def test_time_ranges_come_back_by_name(tbs, time_range):
    assert ours("", "google_search", q="x", tbs=tbs)[1] == {"query": "x", "time_range": time_range}


@pytest.mark.parametrize("tbs", ["", "qdr:", "cdr:1", "qdr:h", 7, None])
def test_a_time_range_that_is_none_of_ours_is_left_out_or_told(tbs):
    arguments = ours("", "google_search", q="x", tbs=tbs)[1]
    assert arguments == ({"query": "x"} if isinstance(tbs, str) else {"query": "x", "time_range": tbs})


def test_without_a_time_range_of_ours_none_is_passed_on():
    assert ours("", "google_search", spec("web_search", query=TEXT), q="x", tbs="qdr:w")[1] == {"query": "x"}


@pytest.mark.parametrize(("num", "num_results"), [(100, 20), (0, 1), (7, 7), ("7", "7"), (2.5, 2.5), (True, True)])
def test_numbers_are_brought_within_bounds(num, num_results):
    assert ours("", "google_search", q="x", num=num)[1]["num_results"] == num_results


def test_numbers_are_left_alone_where_the_bounds_are_no_whole_ones():
    loose = spec("web_search", query=TEXT, num_results={"type": "number", "maximum": 2.5})
    assert ours("", "google_search", loose, num=7)[1] == {"num_results": 7}


@pytest.mark.parametrize("name", ["info_to_extract", "description", "introduction", "question"])
def test_what_to_extract_goes_by_many_names(name):
    assert ours("jina_scrape_llm_summary", "scrape_and_extract_info", url="u", **{name: "why"}) == (
        "read_page",
        {"url": "u", "question": "why"},
    )


@pytest.mark.parametrize("name", ["run_python_code", "python", "python_code", "run_python", "Run_Python_Code"])
@pytest.mark.parametrize("parameter", ["code_block", "code", "python_code"])
def test_programs_go_by_many_names_and_sandboxes_that_were_made_up_are_dropped(name, parameter):
    call = ours("tool-python", name, **{parameter: "print(1)", "sandbox_id": "sandbox_made_up"})
    assert call == ("run_python", {"code": "print(1)"})


def test_a_sandbox_is_kept_where_the_tool_takes_one():
    assert ours("", "run_command", command="ls", sandbox_id="s") == ("run_command", {"command": "ls"})
    wide = spec("run_command", command=TEXT, sandbox_id=TEXT)
    assert ours("", "run_command", wide, command="ls", sandbox_id="s")[1] == {"command": "ls", "sandbox_id": "s"}


@pytest.mark.parametrize(
    ("server", "name", "expected"),
    [
        ("tool-python", "google_search", "web_search"),
        ("", "google_search", "web_search"),
        (" search_and_scrape_webpage ", " google_search\n", "web_search"),
        ("", "search_and_scrape_webpage.google_search", "web_search"),
        ("", "search_and_scrape_webpage-google_search", "web_search"),
        ("", "tool-python__run_command", "run_command"),
        ("", "GOOGLE_SEARCH", "web_search"),
        ("", "web_search", "web_search"),
        ("weather", "forecast", "weather_forecast"),
        ("tools", "forecast", "weather_forecast"),
        ("", "weather_forecast", "weather_forecast"),
        ("tools", "days_between", "days_between"),
        ("tools", "no_such_tool", "no_such_tool"),
    ],
)
def test_a_known_tool_is_found_under_any_server(server, name, expected):
    assert ours(server, name)[0] == expected


def test_arguments_of_other_tools_and_unknown_ones_are_left_alone():
    given: JsonObject = {"city": "x", "sandbox_id": "s", "q": "y"}
    assert ours("weather", "forecast", **given)[1] == given
    assert ours("tools", "no_such_tool", **given)[1] == given
    assert ours("", "google_search", q="x", colour="red")[1] == {"query": "x", "colour": "red"}


@pytest.mark.parametrize(
    ("uri", "call"),
    [
        ("guide.md", ("read_document", {"id": "guide.md"})),
        ("file:guide.md", ("read_document", {"id": "guide.md"})),
        ("file:///notes/guide.md", ("read_document", {"id": "notes/guide.md"})),
        ("https://example.org/a.pdf ", ("read_page", {"url": "https://example.org/a.pdf"})),
        (7, ("read_document", {"id": 7})),
    ],
)
def test_documents_are_read_by_id_and_pages_by_address(uri, call):
    assert ours("tool-reader", "convert_to_markdown", uri=uri) == call


def test_an_address_stays_a_document_s_where_no_page_can_be_read():
    assert ours("", "convert_to_markdown", READ, uri="https://example.org/") == (
        "read_document",
        {"id": "https://example.org/"},
    )


def test_two_tools_of_one_place_stay_apart_and_a_server_s_tool_has_it_by_right():
    theirs = spec("mcp_google", q=TEXT, server="search_and_scrape_webpage", remote_name="google_search")
    dialect = ToolDialect((SEARCH, theirs))
    assert [(tool.server, tool.name) for tool in dialect.shown()] == [
        ("tools", "web_search"),
        ("search_and_scrape_webpage", "google_search"),
    ]
    assert ours("search_and_scrape_webpage", "google_search", SEARCH, theirs, q="x") == ("mcp_google", {"q": "x"})
    assert ours("tools", "web_search", SEARCH, theirs, q="x") == ("web_search", {"query": "x"})
    assert dialect.theirs(NamedCall(name="web_search", arguments={})).server == "tools"


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (
            "web_search",
            {"query": "x", "num_results": 5, "time_range": "month"},
            ("search_and_scrape_webpage", "google_search", {"q": "x", "num": 5, "tbs": "qdr:m"}),
        ),
        ("web_search", {"time_range": 7}, ("search_and_scrape_webpage", "google_search", {"tbs": 7})),
        ("run_python", {"code": "1"}, ("tool-python", "run_python_code", {"code_block": "1"})),
        ("read_document", {"id": "a", "offset": 9}, ("tool-reader", "convert_to_markdown", {"uri": "a", "offset": 9})),
        ("weather_forecast", {"city": "x"}, ("weather", "forecast", {"city": "x"})),
        ("days_between", {"time_range": "day"}, ("tools", "days_between", {"time_range": "day"})),
        ("no_such_tool", {"a": 1}, ("tools", "no_such_tool", {"a": 1})),
    ],
)  # fmt: skip
def test_our_calls_are_written_in_the_model_s_names(name, arguments, expected):
    call = ToolDialect(ALL).theirs(NamedCall(name=name, arguments=arguments))
    assert (call.server, call.name, call.arguments) == expected


def test_names_that_were_trained_are_known_without_any_tool_on_offer():
    call = ToolDialect(()).theirs(NamedCall(name="web_search", arguments={"query": "x"}))
    assert (call.server, call.name, call.arguments) == ("search_and_scrape_webpage", "google_search", {"q": "x"})
