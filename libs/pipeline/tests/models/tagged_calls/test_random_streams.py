"""10,000 replies, cut at random: what people see holds no piece of tool-call syntax, and the cuts change nothing.

Half of them are made of sound parts, so that what must come out is known; half are heaps of the worst pieces there are.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from pydantic import JsonValue
from thinkpool_pipeline.models.reply_assembly import ReplyAssembly
from thinkpool_pipeline.models.tagged_calls import TaggedCallsModel
from thinkpool_pipeline.outward import Unreadable
from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.values import Message, ModelDelta, ModelReply, ModelRequest, Retraction, StepName, ToolSpec

NAMES = ("use_mcp_tool", "server_name", "tool_name", "arguments", "tool_call")
SYNTAX = re.compile(rf"<\s{{0,8}}/?\s{{0,8}}(?:{'|'.join(NAMES)})(?:[\s/][^<>]{{0,200}})?>", re.IGNORECASE | re.ASCII)
PIECE = re.compile(r"<\s{0,8}/?\s{0,8}(?:use_|server_n|tool_n|tool_c|arguments)", re.IGNORECASE | re.ASCII)
CUT_OFF = re.compile(r"<\s*/?\s*([a-z_]+)\Z", re.IGNORECASE | re.ASCII)
SECRET = "CANARY"


def spec(name: str, **properties: JsonValue) -> ToolSpec:
    return ToolSpec(name=name, description="Does it.", parameters={"type": "object", "properties": properties})


RANGES: JsonValue = {"type": "string", "enum": ["day", "week", "month", "year"]}
REQUEST = ModelRequest(
    messages=(Message(role="user", content="why?"),),
    tools=(
        spec("web_search", query={"type": "string"}, num_results={"type": "integer"}, time_range=RANGES),
        spec("read_page", url={"type": "string"}, question={"type": "string"}),
        spec("run_python", code={"type": "string"}),
    ),
    step=StepName("turn/1"),
)


@dataclass
class CutModel:
    """A model whose text arrives in these pieces, read as that of a real endpoint."""

    pieces: Sequence[str]
    name: str = "cut"

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        assembly = ReplyAssembly()
        assert on_delta is not None
        for piece in self.pieces:
            assembly.feed(orjson.dumps({"choices": [{"delta": {"content": piece}}]}))
            self.tell(assembly, on_delta)
        assembly.end_text()
        self.tell(assembly, on_delta)
        return assembly.reply(call_id_prefix="call_", taken_ids=frozenset())

    def tell(self, assembly: ReplyAssembly, on_delta: OnDelta) -> None:
        for shown in assembly.take_shown():
            on_delta(shown)


@dataclass
class Watcher:
    """Somebody who watches: looks for syntax in what they see, each time they see more of it."""

    seen: dict[str, str] = field(default_factory=lambda: {"text": "", "reasoning": ""})

    def watch(self, piece: ModelDelta | Retraction) -> None:
        if isinstance(piece, Retraction):
            self.seen = {"text": "", "reasoning": ""}
            return
        assert piece.text
        self.seen[piece.kind] += piece.text
        recent = self.seen[piece.kind][-600:]
        assert not SYNTAX.search(recent), recent
        assert not PIECE.search(recent), recent
        assert SECRET not in recent, recent


async def read(pieces: Sequence[str]) -> tuple[ModelReply, Watcher]:
    """The reply to a text that comes in these pieces, and what a watcher saw of it."""
    watcher = Watcher()
    reply = await TaggedCallsModel(CutModel(pieces), is_xml=False).complete(REQUEST, watcher.watch)
    return reply, watcher


def cut(text: str, rng: random.Random) -> list[str]:
    """The text in pieces: few or many, of any length down to a letter."""
    count = rng.choice((1, 2, 3, 8, 20, len(text)))
    places = sorted({0, len(text), *(rng.randrange(len(text)) for _ in range(count))})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def tagged(name: str, text: str, rng: random.Random) -> str:
    """An element, its tags written as sloppily as models do."""
    if rng.random() < 0.3:
        name = rng.choice((name.upper(), name.title(), f" {name}", f"{name} ", f"\n{name}", f'{name} id="1"'))
    return f"<{name}>{text}</{name.strip()}>"


WORDS = (
    "a river b", "1 < 2", "x > y,", "<b>bold</b>", "<", ">", "é", "😀", "don't", "use_mcp_tool,", "server_name:",
    "<tools>", "<tool", "<argument>", "<use_mcp>", "</server>", "<use_mcp_to and", "{\"q\": 1}", "`x`", "``a ` b``",
    "\n", "\n\n", "‹", "<<", "</ ", "~~gone~~", "é́", "\u2028",
)  # fmt: skip
QUOTED = (
    "`<use_mcp_tool>`",
    "`</arguments>`",
    '``<tool_call>{"name": 1}</tool_call>``',
    "\n```xml\n<use_mcp_tool>\n<tool_name>google_search</tool_name>\n<arguments>{}</arguments>\n</use_mcp_tool>\n```\nso",
    "\n~~~\n<TOOL_CALL>\n{}\n</tool_call>\n~~~\nthat",
)


def prose(rng: random.Random) -> tuple[str, str]:
    """What a model says, and what people see of it: quoted tags come in other brackets."""
    words = rng.choices(WORDS, k=rng.randrange(6)) + rng.choices(QUOTED, k=rng.choice((0, 0, 1)))
    rng.shuffle(words)
    said = " ".join(["So", *words, "it is."])
    shown = SYNTAX.sub(lambda tag: f"‹{tag.group()[1:-1]}›", said)
    return said, PIECE.sub(lambda begun: f"‹{begun.group()[1:]}", shown)


Arguments = dict[str, object]
Written = tuple[str, str, Arguments]
"""A call's text, our name for its tool, and our arguments."""


def search(rng: random.Random) -> Written:
    query = rng.choice(("CANARY harbour", "CANARY </arguments> <use_mcp_tool>", 'CANARY "quoted" é', "CANARY\nline"))
    arguments: Arguments = {"q": query, "num": 5, "gl": "us", "hl": "en", "tbs": "qdr:w"}
    return _call("google_search", arguments, rng), "web_search", {
        "query": query, "num_results": 5, "time_range": "week"
    }  # fmt: skip


def page(rng: random.Random) -> Written:
    wanted = rng.choice(("info_to_extract", "description", "introduction", "question"))
    arguments: Arguments = {"url": "https://example.org/CANARY", wanted: "what < it > says"}
    expected: Arguments = {"url": "https://example.org/CANARY", "question": "what < it > says"}
    return _call("scrape_and_extract_info", arguments, rng), "read_page", expected


def program(rng: random.Random) -> Written:
    code = "print('CANARY')\nif 1 < 2:\n    print(\"</tool_call>\")"
    name, parameter = rng.choice(("run_python_code", "python", "python_code")), rng.choice(("code_block", "code"))
    return _call(name, {parameter: code, "sandbox_id": "made-up"}, rng), "run_python", {"code": code}


def _call(name: str, arguments: Arguments, rng: random.Random) -> str:
    if rng.random() < 0.3:
        return tagged("tool_call", f"\n{json.dumps({'name': name, 'arguments': arguments})}\n", rng)
    text = json.dumps(arguments, ensure_ascii=rng.random() < 0.5)
    slip = rng.randrange(6)
    if slip == 0 and "<" not in text:
        text = text[:-1] + ",}"  # repaired
    elif slip == 1:
        text = f"```json\n{text}\n```"
    elif slip == 2:
        text = text.replace("\\n", "\n")
    inner = (
        tagged("server_name", rng.choice(("jina_scrape_llm_summary", "tool-python", "no-such-server")), rng)
        + rng.choice(("", "\n"))
        + tagged("tool_name", name, rng)
        + f"\n<arguments>\n{text}\n"
    )
    if slip == 3 and ",}" not in text:
        return f"<use_mcp_tool>\n{inner}"  # no closing tag at all
    return tagged("use_mcp_tool", f"{inner}</arguments>\n", rng)


MAKERS: tuple[Callable[[random.Random], Written], ...] = (search, page, program)


def sound(rng: random.Random) -> tuple[str, str, list[tuple[str, Arguments]]]:
    """A reply, what people see of its text, and its calls."""
    said, shown = prose(rng)
    made = [rng.choice(MAKERS)(rng) for _ in range(rng.randrange(4))]
    thinking = ""
    if rng.random() < 0.4:
        thinking = f"<think>{prose(rng)[0]} <use_mcp_tool><tool_name>x</tool_name></use_mcp_tool></think>\n\n"
    text = thinking + said
    for written, _, _ in made:
        text += "\n\n" + written + rng.choice(("", "\n", "\nIts result: CANARY <b> and so on."))
    return text, shown, [(name, arguments) for _, name, arguments in made]


@pytest.mark.parametrize("seed", range(5))
async def test_the_parts_of_a_reply_come_out_as_they_were_meant_however_it_is_cut(seed):
    rng = random.Random(seed)
    kinds = set[int]()
    for _ in range(1_000):
        text, shown, calls = sound(rng)
        reply, watcher = await read(cut(text, rng))
        unique = [call for place, call in enumerate(calls) if call not in calls[:place]]
        assert [(call.name, call.arguments) for call in reply.tool_calls if not call.malformed] == unique, text
        assert not any(call.malformed for call in reply.tool_calls), text
        assert reply.text.strip() == watcher.seen["text"].strip() == shown.strip(), text
        assert reply.reasoning == watcher.seen["reasoning"]
        kinds.add(len(unique))
    assert kinds == {0, 1, 2, 3}


WORST = (
    *(f"<{slash}{name}>" for name in NAMES for slash in ("", "/")),
    *(f"<{name}" for name in NAMES),
    "<use_mcp_", "mcp_tool>", "tool_name>", "_call>", "<tool", "<", "</", ">", "< ", " >", "<\n", "</Tool_Name\n>",
    '<tool_call id="7">', "<think>", "</think>", "```", "`", "~~~", "\n", "\n", " ", "\t", "{", "}", '{"q": "x"}',
    '{"name": "google_search", "arguments": {}}', "google_search", "python", "é", "😀", "word ", "‹", "\\", '"',
)  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
async def test_heaps_of_the_worst_pieces_leak_nothing_and_mean_the_same_however_they_are_cut(seed):
    rng = random.Random(seed)
    kinds = set[tuple[bool, bool]]()
    for _ in range(1_000):
        text = "So: " + "".join(rng.choices(WORST, k=rng.randrange(1, 16))) + rng.choice(("", " end"))
        pieces = cut(text, rng)
        try:
            whole, _ = await read([text])
        except Unreadable:  # all of it was thinking
            with pytest.raises(Unreadable):
                await read(pieces)
            continue
        reply, watcher = await read(pieces)
        assert reply == whole, pieces
        assert reply.text.strip() == watcher.seen["text"].strip(), pieces
        assert reply.reasoning.strip() == watcher.seen["reasoning"].strip(), pieces
        cut_off = CUT_OFF.search(reply.text)
        if cut_off is not None and text.endswith(cut_off[0]) and not reply.tool_calls:
            assert not any(name.startswith(cut_off[1].lower()) for name in NAMES), pieces
        kinds.add((bool(reply.tool_calls), bool(reply.reasoning)))
    assert len(kinds) == 4
