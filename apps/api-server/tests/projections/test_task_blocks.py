import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from extended_stream_client import BrokenStream, Tree, read_tree
from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCompleted,
    RunEvent,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.values import RunId, Seq, SourceId, ToolFile
from thinkpool_server.projections.chat_chunks import CUT, ChatHead
from thinkpool_server.projections.task_blocks import TaskStream
from thinkpool_server.testing.generated_runs import generated_run
from thinkpool_server.testing.scripts import CITATION, REPORT, USAGE, begun_run, completed_run, failed_run

HEAD = ChatHead(run_id=RunId("r1"), model="m", created=1000)

EXAMPLE: list[tuple[str, str, str, str, int, str]] = [
    # taskstat, content_type, parent_taskid, taskid, index, task_content
    ("message_start", "research_process_block", "", "t0", 0, '{"label":"Research"}'),
    ("message_process", "research_process_block", "", "t0", 0, ""),
    ("message_start", "research_think_block", "t0", "t1", 1, '{"label":"Thinking"}'),
    ("message_process", "research_think_block", "t0", "t1", 1, "Which tides "),
    ("message_process", "research_think_block", "t0", "t1", 1, "are highest?"),
    ("message_result", "research_think_block", "t0", "t1", 1, ""),
    ("message_start", "research_web_search", "t0", "t2", 2, '{"label":"Searched","count":4,"keyword":"tides"}'),
    (
        "message_process",
        "research_web_search",
        "t0",
        "t2",
        2,
        '{"index":1,"title":"One","link":"https://one.example/","snippet":"1","icon":""}\n'
        '{"index":2,"title":"Two","link":"https://two.example/","snippet":"2","icon":""}\n'
        '{"index":3,"title":"Three","link":"https://three.example/","snippet":"3","icon":""}\n',
    ),
    (
        "message_process",
        "research_web_search",
        "t0",
        "t2",
        2,
        '{"index":4,"title":"Four","link":"https://four.example/","snippet":"4","icon":""}\n',
    ),
    ("message_result", "research_web_search", "t0", "t2", 2, ""),
    ("message_start", "research_web_browse", "t0", "t3", 3, '{"label":"Reading"}'),
    (
        "message_process",
        "research_web_browse",
        "t0",
        "t3",
        3,
        '{"index":2,"title":"Two","link":"https://two.example/","snippet":"2","sitename":"two.example","icon":""}',
    ),
    ("message_result", "research_web_browse", "t0", "t3", 3, ""),
    ("message_start", "research_text_block", "t0", "t4", 4, '{"label":"Code"}'),
    ("message_process", "research_text_block", "t0", "t4", 4, "```python\nprint(16)\n```\n"),
    ("message_process", "research_text_block", "t0", "t4", 4, "16"),
    ("message_result", "research_text_block", "t0", "t4", 4, ""),
    ("message_start", "research_completed", "t0", "t5", 5, '{"label":"Done"}'),
    ("message_process", "research_completed", "t0", "t5", 5, ""),
    ("message_result", "research_completed", "t0", "t5", 5, ""),
    ("message_result", "research_process_block", "", "t0", 0, ""),
    ("answer", "", "", "", 6, "In the Bay of Fundy, "),
    ("answer", "", "", "", 6, "16 metres.[2]"),
    ("message_start", "research_used_sources", "t0", "t7", 7, '{"cited":[2]}'),
    ("message_process", "research_used_sources", "t0", "t7", 7, ""),
    ("message_result", "research_used_sources", "t0", "t7", 7, ""),
]
"""A whole stream as the format's description has it: its order, its fields, its nesting."""


def written(rows: list[tuple[str, str, str, str, int, str]], *, finish: bool = True, done: bool = True) -> bytes:
    lines = [chunk(delta(*row)) for row in rows]
    if finish:
        lines.append(chunk({}, "stop"))
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def chunk(fields: dict[str, Any], finish_reason: str | None = None) -> bytes:
    body = {
        "id": "chatcmpl-x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def delta(stat: str, kind: str, parent: str, task: str, index: int, content: str) -> dict[str, Any]:
    if stat == "answer":
        return {"role": "assistant", "index": index, "content": content}
    return {
        "role": "task",
        "taskstat": stat,
        "content_type": kind,
        "parent_taskid": parent,
        "taskid": task,
        "index": index,
        "task_content": content,
        "content": "",
    }


def source(number: int, word: str, within: str | None = None) -> SourceFound:
    address = f"https://{word.lower()}.example/"
    return SourceFound(
        source_id=SourceId(number), document=address, url=address, title=word, snippet=str(number), within=within
    )


def started(call_id: str, name: str, within: str | None = None, **arguments: str) -> ToolStarted:
    return ToolStarted(turn=1, call_id=call_id, name=name, arguments=dict(arguments), attempt=1, within=within)


def finished(call_id: str, name: str, **fields: Any) -> ToolFinished:
    shown: dict[str, Any] = {"ok": True, "summary": "", "error": None, **fields}
    return ToolFinished(call_id=call_id, name=name, duration_seconds=0, cached=False, **shown)


def turned(turn: int = 1, within: str | None = None) -> TurnFinished:
    return TurnFinished(turn=turn, usage=USAGE, finish_reason="tool_calls", duration_seconds=0, within=within)


def reported(report: str = "In the Bay of Fundy, 16 metres.[2]", turn: int = 2) -> tuple[RunEvent, ...]:
    citation = CITATION.__class__(
        source_id=SourceId(2), quote="", is_verbatim=True, title="Two", document="d", url=None, start=0, end=1
    )
    return (
        TurnStarted(turn=turn, purpose="report"),
        ReportDelta(turn=turn, text=report),
        turned(turn),
        RunCompleted(report=report, citations=(citation,), usage=USAGE, stop_reason="finished"),
    )


EXAMPLE_RUN: tuple[RunEvent, ...] = (
    *begun_run(),
    ReasoningDelta(turn=1, text="Which tides "),
    ReasoningDelta(turn=1, text="are highest?"),
    turned(),
    started("c1", "web_search", query="tides"),
    finished("c1", "web_search"),
    *(source(number, word) for number, word in enumerate(("One", "Two", "Three", "Four"), start=1)),
    started("c2", "read_page", url="https://two.example/"),
    finished("c2", "read_page"),
    started("c3", "run_python", code="print(16)"),
    finished("c3", "run_python", output="16"),
    *reported(),
)


def stored(events: tuple[RunEvent, ...]) -> list[StoredEvent]:
    return [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=0)
        for number, event in enumerate(events, start=1)
    ]


def streamed(*events: RunEvent, batch_events: int = 1, **options: Any) -> bytes:
    stream = TaskStream(HEAD, **{"has_usage": False, "language": "en", **options})
    log = stored(events)
    batches = [log[start : start + batch_events] for start in range(0, len(log), batch_events)]
    return stream.begin() + b"".join(stream.project(batch) for batch in batches)


def tree_of(*events: RunEvent, **options: Any) -> Tree:
    return read_tree(streamed(*events, **options))


def kinds(tree: Tree) -> list[str]:
    assert tree.root is not None
    return [child.content_type.removeprefix("research_") for child in tree.root.children]


def texts(tree: Tree) -> list[str]:
    assert tree.root is not None
    return [child.text for child in tree.root.children]


def test_our_stream_of_the_example_s_run_is_the_same_tree() -> None:
    check_event_log(EXAMPLE_RUN)
    example, ours = read_tree(written(EXAMPLE)), tree_of(*EXAMPLE_RUN)
    assert ours.shape == example.shape
    assert ours.answer == example.answer
    assert ours.cited == example.cited == [2]
    assert example.root is not None
    assert ours.root is not None
    for mine, theirs in zip(ours.root.children[1:3], example.root.children[1:3], strict=True):
        assert mine.items == theirs.items


def moved(rows: list[Any], place: int, to: int) -> list[Any]:
    rows = list(rows)
    rows.insert(to, rows.pop(place))
    return rows


def changed(rows: list[Any], place: int, field: int, value: object) -> list[Any]:
    rows = list(rows)
    rows[place] = (*rows[place][:field], value, *rows[place][field + 1 :])
    return rows


def renumbered(rows: list[Any]) -> list[Any]:
    """With the answer right behind the last child."""
    return [changed(rows, place, 4, 5)[place] if row[0] == "answer" else row for place, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (lambda rows: moved(rows, 10, 9), "a block starts when the one before it has its result"),
        (lambda rows: moved(rows, 4, 6), "a chunk belongs to the open block"),
        (lambda rows: changed(rows, 6, 4, 3), "children count from 1"),
        (lambda rows: changed(rows, 7, 4, 3), "a block keeps its fields"),
        (lambda rows: changed(rows, 21, 4, 7), "the answer's index is behind the last child's"),
        (lambda rows: [*rows[:5], *rows[6:]], "a block starts when the one before it has its result"),
        (lambda rows: rows[:-1], "the sources that were used are told"),
        (lambda rows: [*rows[:20], *rows[21:]], "the answer follows the root's result"),
        (lambda rows: moved(rows, 20, 2), "the root's result is sent after all children"),
        (lambda rows: moved(rows, 20, 19), "the root's result is sent after all children"),
        (lambda rows: renumbered([*rows[:17], *rows[20:]]), "the end of the research is told"),
        (lambda rows: changed(rows, 6, 3, "t1"), "a block's id is its own"),
        (lambda rows: changed(rows, 6, 2, ""), "the root is every other block's parent"),
        (lambda rows: changed(rows, 5, 5, "late"), "a result is empty"),
        (lambda rows: changed(rows, 6, 5, '{"label":"","count":5,"keyword":""}'), "a search has as many results"),
        (lambda rows: [*rows[:21], *rows[23:], *rows[21:23]], "the sources follow the answer"),
    ],
)
def test_the_client_that_finds_it_the_same_would_find_a_fault(
    fault: Callable[[list[Any]], list[Any]], rule: str
) -> None:
    with pytest.raises(BrokenStream, match=rule):
        read_tree(written(fault(EXAMPLE)))


def test_the_client_misses_an_end() -> None:
    with pytest.raises(BrokenStream, match="ends with a finish reason"):
        read_tree(written(EXAMPLE, finish=False))
    with pytest.raises(BrokenStream, match=re.escape("[DONE]")):
        read_tree(written(EXAMPLE, done=False))


@pytest.mark.parametrize("seed", range(60))
def test_any_run_is_a_tree_that_loses_nothing_and_is_the_same_in_any_batches(seed: int) -> None:
    events = generated_run(seed)
    check_event_log(events)
    whole = streamed(*events)
    tree = read_tree(whole)
    assert streamed(*events, batch_events=7) == whole
    assert tree.root is not None
    assert tree.root.is_complete
    assert tree.error is not None or tree.answer == getattr(events[-1], "report", None)
    shown = " ".join([*texts(tree), *(json.dumps(child.start) for child in tree.root.children)])
    assert [word for word in words_of_research(events) if word not in shown.split()] == []


def words_of_research(events: tuple[RunEvent, ...]) -> list[str]:
    """What the model thought and said before its answer began, and what programs printed."""
    said: list[str] = []
    for event in events:
        if isinstance(event, ReportDelta):
            break
        if isinstance(event, ReasoningDelta | MessageDelta):
            said.append(event.text.strip())
        elif isinstance(event, ToolFinished) and event.output:
            said.append(event.output.strip())
    return said


def test_calls_side_by_side_come_one_after_the_other_in_the_order_in_which_they_began() -> None:
    tree = tree_of(
        *begun_run(),
        turned(),
        started("c1", "web_search", query="slow"),
        started("c2", "run_python", code="1"),
        started("c3", "web_search", query="quick"),
        finished("c3", "web_search"),
        source(1, "Quick"),
        ToolProgress(call_id="c2", text="half way"),
        finished("c2", "run_python", output="one"),
        finished("c1", "web_search"),
        source(2, "Slow"),
        *reported(),
    )
    assert kinds(tree) == ["web_search", "text_block", "web_search", "completed"]
    assert tree.root is not None
    slow, code, quick, _ = tree.root.children
    assert (slow.start["keyword"], [item["index"] for item in slow.items]) == ("slow", [2])
    assert (quick.start["keyword"], [item["index"] for item in quick.items]) == ("quick", [1])
    assert code.text == "```python\n1\n```\n\nhalf way\n\n```\none\n```\n\n"


def test_the_block_in_front_is_sent_as_it_is_filled() -> None:
    stream = TaskStream(HEAD, has_usage=False, language="en")
    log = stored((*begun_run(), turned(), started("c1", "run_python", code="slow()")))
    assert b"slow()" in stream.project(log)
    more = StoredEvent(
        seq=Seq(6), type="tool.progress", data=encode(ToolProgress(call_id="c1", text="on its way")), at=0
    )
    assert b"on its way" in stream.project([more])


def test_research_within_a_call_follows_its_call_and_stays_together() -> None:
    tree = tree_of(
        *begun_run(),
        turned(),
        started("a", "research_subtopic", subtask="first"),
        started("b", "research_subtopic", subtask="second"),
        TurnStarted(turn=1, purpose="research", within="b"),
        ReasoningDelta(turn=1, text="b thinks", within="b"),
        TurnStarted(turn=1, purpose="research", within="a"),
        ReasoningDelta(turn=1, text="a thinks", within="a"),
        turned(within="b"),
        turned(within="a"),
        started("a/1", "web_search", within="a", query="of a"),
        finished("a/1", "web_search", within="a"),
        source(1, "Of A", within="a"),
        TurnStarted(turn=2, purpose="findings", within="a"),
        MessageDelta(turn=2, text="a found", within="a"),
        turned(2, within="a"),
        finished("a", "research_subtopic"),
        finished("b", "research_subtopic"),
        *reported(),
    )
    assert texts(tree)[0:2] == ["first", "a thinks"]
    assert texts(tree)[3:6] == ["a found", "second", "b thinks"]
    assert kinds(tree)[:6] == ["text_block", "think_block", "web_search", "text_block", "text_block", "think_block"]


def test_a_search_shows_ten_sources_three_at_a_time() -> None:
    found = [source(number, f"S{number}") for number in range(1, 13)]
    tree = tree_of(*begun_run(), turned(), started("c", "web_search"), finished("c", "web_search"), *found, *reported())
    assert tree.root is not None
    search = tree.root.children[0]
    assert [len(piece.splitlines()) for piece in search.pieces] == [3, 3, 3, 1]
    assert [item["index"] for item in search.items] == list(range(1, 11))
    assert search.start["count"] == 10


def test_a_page_is_told_once_it_is_read_under_the_number_that_the_model_cites() -> None:
    begun = (*begun_run(), turned(), started("c", "read_page", url="https://new.example/a"))
    assert b"research_web_browse" not in streamed(*begun)
    tree = tree_of(*begun, finished("c", "read_page", output="a chart"), source(5, "New"), *reported())
    assert kinds(tree) == ["web_browse", "text_block", "completed"]
    assert tree.root is not None
    assert tree.root.children[0].items[0] | {"snippet": ""} == {
        "index": 5,
        "title": "New",
        "link": "https://new.example/",
        "snippet": "",
        "icon": "",
        "sitename": "new.example",
    }


@pytest.mark.parametrize("address", ["https://unknown.example/", "http://[broken", ""])
def test_a_page_of_which_nothing_is_known_has_number_0(address: str) -> None:
    tree = tree_of(
        *begun_run(), turned(), started("c", "read_page", url=address), finished("c", "read_page"), *reported()
    )
    assert tree.root is not None
    (page,) = tree.root.children[0].items
    assert (page["index"], page["link"]) == (0, address)


def test_documents_and_other_tools_are_text() -> None:
    plot = ToolFile(name="plot\n.png", media_type="image/png", size_bytes=9)
    tree = tree_of(
        *begun_run(),
        turned(),
        started("c1", "read_document", id="https://sky.example/"),
        finished("c1", "read_document", summary="Sky: 16 characters"),
        source(1, "Sky"),
        started("c2", "files_list", path="/"),
        finished("c2", "files_list", summary="2 files", files=(plot,)),
        source(2, "List"),
        started("c3", "run_command", command="echo ````"),
        finished("c3", "run_command"),
        *reported(),
    )
    document, listed, command, _ = texts(tree)
    assert document == "**Sky** [1]\n\n> 1\n\nSky: 16 characters"
    assert listed == ('```json\n{\n  "path": "/"\n}\n```\n\n- plot .png (image/png, 9 bytes)\n\n- [2] List\n\n2 files')
    assert command.startswith("`````sh\necho ````\n`````")


def test_a_call_that_fails_is_told_where_errors_are() -> None:
    tree = tree_of(
        *begun_run(),
        turned(),
        started("c1", "web_search", query="tides"),
        finished("c1", "web_search", ok=False, summary="No service answers.", error="tool-unavailable"),
        started("c2", "run_python", code="1/0"),
        finished("c2", "run_python", ok=False, summary="It took too long.", error="tool-timeout"),
        *reported(),
    )
    assert kinds(tree) == ["think_block", "text_block", "think_block", "completed"]
    assert texts(tree)[0] == "web_search (tides): No service answers."
    assert texts(tree)[2] == "run_python: It took too long."


def test_what_is_taken_back_is_marked_and_begins_again_in_a_block_of_its_own() -> None:
    tree = tree_of(
        *begun_run(),
        ReasoningDelta(turn=1, text="wrong"),
        TurnRetracted(turn=1, reason="restarted"),
        TurnStarted(turn=1, purpose="research"),
        ReasoningDelta(turn=1, text="right"),
        turned(),
        *reported(),
    )
    assert texts(tree)[:2] == ["wrong\n\n(Withdrawn: this step is done again.)", "right"]


def begun_again(second: str) -> Tree:
    return tree_of(
        *begun_run(),
        turned(),
        TurnStarted(turn=2, purpose="report"),
        ReportDelta(turn=2, text="The sky is"),
        TurnRetracted(turn=2, reason="restarted"),
        TurnStarted(turn=2, purpose="report"),
        ReasoningDelta(turn=2, text="too late"),
        ReportDelta(turn=2, text=second),
        turned(2),
        RunCompleted(report=second, citations=(), usage=USAGE, stop_reason="finished"),
    )


def test_a_report_begun_again_in_the_same_words_is_read_once() -> None:
    tree = begun_again("The sky is blue.")
    assert (tree.answer, tree.error, tree.cited) == ("The sky is blue.", None, [])
    assert kinds(tree) == ["completed"]


def test_a_report_begun_again_in_other_words_ends_with_an_error() -> None:
    tree = begun_again("The sea.")
    assert (tree.answer, tree.error["code"]) == ("The sky is", "report-rewritten")


def test_a_failed_run_closes_its_blocks_and_says_why_in_a_block_and_as_an_error() -> None:
    tree = tree_of(*begun_run(), turned(), started("c1", "run_python", code="1"), *failed_run()[-1:])
    assert (tree.error["code"], tree.error["type"]) == ("model-unavailable", "server_error")
    assert kinds(tree) == ["text_block", "think_block"]
    assert texts(tree)[1] == tree.error["message"]


def test_a_stream_that_the_server_cuts_says_so() -> None:
    stream = TaskStream(HEAD, has_usage=False, language="en")
    tree = read_tree(stream.begin() + stream.end(CUT))
    assert tree.error["code"] == "shutting-down"
    assert stream.is_done
    assert stream.project(stored(completed_run())) == b""


def test_usage_comes_last_when_asked_for() -> None:
    tree = tree_of(*completed_run(), has_usage=True)
    assert (tree.usage["total_tokens"], tree.answer, tree.cited) == (USAGE.total_tokens, REPORT, [1])


def test_labels_are_in_the_language_that_was_asked_for() -> None:
    chinese, english = (tree_of(*completed_run(), language=language) for language in ("zh", "en"))
    assert chinese.root is not None
    assert english.root is not None
    assert chinese.shape == english.shape
    assert chinese.root.start == {"label": "正在收集并分析资料"}
    assert english.root.start == {"label": "Gathering and weighing material"}
    assert chinese.root.children[1].start["label"] == "搜索完成，新增 1 个来源"
