"""A client of the extended chat stream, written from the description of its format alone: it builds the tree of blocks.

It takes nothing on trust: what the format does not allow is a `BrokenStream` that says what is wrong.
"""

import json
from dataclasses import dataclass, field
from typing import Any

ROOT_TYPE = "research_process_block"
CHILD_TYPES = {
    "research_think_block",
    "research_web_search",
    "research_web_browse",
    "research_text_block",
    "research_completed",
}
SOURCES_TYPE = "research_used_sources"
RESULT_FIELDS = {"index", "title", "link", "snippet", "icon"}
PAGE_FIELDS = RESULT_FIELDS | {"sitename"}
TASK_FIELDS = {
    "role",
    "taskstat",
    "content_type",
    "parent_taskid",
    "taskid",
    "index",
    "task_content",
    "content",
}


class BrokenStream(AssertionError):
    """The stream is not in the format."""


@dataclass
class Block:
    taskid: str
    content_type: str
    index: int
    start: Any
    pieces: list[str] = field(default_factory=list)
    children: "list[Block]" = field(default_factory=list)
    is_complete: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def items(self) -> list[Any]:
        """What a search found, or the page."""
        return [json.loads(line) for line in self.text.splitlines() if line]

    @property
    def shape(self) -> tuple[Any, ...]:
        """What it is made of, without its words."""
        fields = sorted(self.start) if isinstance(self.start, dict) else self.start
        items = len(self.items) if self.content_type in ("research_web_search", "research_web_browse") else None
        return (self.content_type, self.index, fields, items, [child.shape for child in self.children])


@dataclass
class Tree:
    root: Block | None = None
    answer: str = ""
    answer_index: int | None = None
    used: Block | None = None
    finish_reason: str | None = None
    usage: Any = None
    error: Any = None
    is_done: bool = False

    @property
    def cited(self) -> list[int] | None:
        return None if self.used is None else self.used.start["cited"]

    @property
    def shape(self) -> tuple[Any, ...]:
        return (
            self.root and self.root.shape,
            self.answer_index,
            self.used and self.used.shape,
            self.finish_reason,
            bool(self.error),
        )


def read_tree(stream: bytes) -> Tree:
    """The tree of a whole stream."""
    reader = _Reader()
    for message in stream.decode().split("\n\n"):
        lines = [line for line in message.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        _expect(len(lines) == 1 and lines[0].startswith("data: "), "a message is one line of data")
        reader.read(lines[0].removeprefix("data: "))
    _expect(reader.tree.is_done, "the stream ends with [DONE]")
    return reader.tree


class _Reader:
    def __init__(self) -> None:
        self.tree = Tree()
        self.open: Block | None = None
        self.ids: set[str] = set()

    def read(self, data: str) -> None:
        _expect(not self.tree.is_done, "nothing follows [DONE]")
        if data == "[DONE]":
            self._done()
            return
        chunk = json.loads(data)
        _expect(self.tree.error is None, "only [DONE] follows an error")
        if "error" in chunk:
            self.tree.error = chunk["error"]
            return
        _expect(chunk["object"] == "chat.completion.chunk", "a chunk is OpenAI's")
        if not chunk["choices"]:
            self.tree.usage = chunk["usage"]
            return
        (choice,) = chunk["choices"]
        _expect(self.tree.finish_reason is None, "nothing but usage follows the end")
        self.tree.finish_reason = choice["finish_reason"]
        delta = choice["delta"]
        if delta.get("role") == "task":
            self._task(delta)
        elif delta:
            self._answer(delta)

    def _done(self) -> None:
        tree = self.tree
        tree.is_done = True
        if tree.error is None:
            _expect(tree.finish_reason is not None, "a stream without an error ends with a finish reason")
            _expect(tree.root is not None and tree.root.is_complete, "the root has a result")
            _expect(tree.root is not None and _is_completed(tree.root), "the end of the research is told")
            _expect(tree.used is not None and tree.used.is_complete, "the sources that were used are told")
        _expect(self.open is None, "every block has a result")

    def _answer(self, delta: dict[str, Any]) -> None:
        tree = self.tree
        _expect(set(delta) == {"role", "index", "content"} and delta["role"] == "assistant", "an answer's fields")
        _expect(tree.root is not None and tree.root.is_complete, "the answer follows the root's result")
        assert tree.root is not None
        _expect(delta["index"] == len(tree.root.children) + 1, "the answer's index is behind the last child's")
        _expect(tree.used is None, "the sources follow the answer")
        tree.answer += delta["content"]
        tree.answer_index = delta["index"]

    def _task(self, delta: dict[str, Any]) -> None:
        _expect(set(delta) == TASK_FIELDS, "a block's fields")
        _expect(delta["content"] == "", "a block has no content of the answer")
        if delta["taskstat"] == "message_start":
            self._start(delta)
            return
        block = self._known(delta)
        if delta["taskstat"] == "message_process":
            self._process(block, delta["task_content"])
        else:
            _expect(delta["taskstat"] == "message_result", "a state")
            self._result(block, delta["task_content"])

    def _start(self, delta: dict[str, Any]) -> None:
        kind, index = delta["content_type"], delta["index"]
        _expect(delta["taskid"] not in self.ids, "a block's id is its own")
        self.ids.add(delta["taskid"])
        start = json.loads(delta["task_content"]) if delta["task_content"] else ""
        block = Block(taskid=delta["taskid"], content_type=kind, index=index, start=start)
        _expect(self.open is None, "a block starts when the one before it has its result")
        root = self.tree.root
        if kind == ROOT_TYPE:
            _expect(root is None and index == 0 and delta["parent_taskid"] == "", "one root, at 0, without a parent")
            self.tree.root = block
            return
        if root is None:
            raise BrokenStream("the root comes first")
        _expect(delta["parent_taskid"] == root.taskid, "the root is every other block's parent")
        if kind == SOURCES_TYPE:
            _expect(root.is_complete, "the sources that were used follow the research")
            _expect(self.tree.used is None and index > len(root.children) + 1, "they are told once, after the answer")
            _expect(all(isinstance(number, int) for number in start["cited"]), "sources are cited by number")
            self.tree.used = block
        else:
            _expect(kind in CHILD_TYPES, "a type of block")
            _expect(not root.is_complete, "the root's result is sent after all children")
            _expect(index == len(root.children) + 1, "children count from 1")
            _expect(_is_completed(root) is False, "the end of the research is the last child")
            _expect("label" in start, "a block has a label")
            if kind == "research_web_search":
                _expect(set(start) == {"label", "count", "keyword"}, "a search has a count and a keyword")
            root.children.append(block)
        self.open = block

    def _known(self, delta: dict[str, Any]) -> Block:
        block = self.tree.root if delta["content_type"] == ROOT_TYPE else self.open
        if block is None or block.taskid != delta["taskid"]:
            raise BrokenStream("a chunk belongs to the open block")
        parent = "" if block is self.tree.root or self.tree.root is None else self.tree.root.taskid
        same = (block.content_type, block.index, parent)
        _expect((delta["content_type"], delta["index"], delta["parent_taskid"]) == same, "a block keeps its fields")
        return block

    def _process(self, block: Block, content: str) -> None:
        block.pieces.append(content)
        if block.content_type == "research_web_search":
            items = [json.loads(line) for line in content.splitlines()]
            _expect(0 < len(items) <= 3, "a chunk has at most three results")
            _expect(all(set(item) == RESULT_FIELDS for item in items), "a result's fields")
            _expect(len(block.items) <= 10, "a search has at most ten results")
        elif block.content_type == "research_web_browse":
            _expect(set(json.loads(content)) == PAGE_FIELDS, "a page's fields")
        elif block.content_type in (ROOT_TYPE, "research_completed", SOURCES_TYPE):
            _expect(content == "", "there is nothing in it")

    def _result(self, block: Block, content: str) -> None:
        _expect(content == "", "a result is empty")
        if block.content_type == ROOT_TYPE:
            _expect(self.open is None, "the root's result is sent after all children")
        else:
            self.open = None
        if block.content_type == "research_web_search":
            _expect(block.start["count"] == len(block.items), "a search has as many results as it says")
        block.is_complete = True


def _is_completed(root: Block) -> bool:
    return any(child.content_type == "research_completed" for child in root.children)


def _expect(is_so: bool, rule: str) -> None:
    if not is_so:
        raise BrokenStream(rule)
