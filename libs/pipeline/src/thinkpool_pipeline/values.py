"""The values that cross seams: frozen, slotted, keyword-only, and free of behaviour beyond reading themselves.

They know no I/O and no provider. Everything a run must survive a crash with is made of these and encodes to JSON.
"""

from dataclasses import dataclass, field
from typing import Literal, NewType, TypeAlias

from pydantic import JsonValue

RunId = NewType("RunId", str)
"""A run's id: made by the server, time-ordered, unguessable, `[A-Za-z0-9_-]` only."""

Seq = NewType("Seq", int)
"""An event's place in its run's log: counts from 1 without gaps; 0 means "before the first"."""

StepName = NewType("StepName", str)
"""A step's name in a run's journal, such as `turn/3` or `turn/3/call/1` (both count from 1)."""

SourceId = NewType("SourceId", int)
"""A source's number in its run: counts from 1; the model and the client see the same one."""

JsonObject: TypeAlias = dict[str, JsonValue]

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "tool_calls", "length", "content_filter", "other"]
StopReason = Literal["finished", "budget", "deadline", "no_progress", "context_full", "no_evidence"]
OutputKind = Literal["report", "answer"]
"""A cited report, or a short answer in a box, as benchmarks ask for it."""
Verdict = Literal["verbatim", "paraphrase"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; zeros where it gave no figures."""

    input_tokens: int = 0
    """Tokens read by the model."""
    output_tokens: int = 0
    """Tokens written by the model, thinking included."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was thinking, where the provider says."""
    cached_tokens: int = 0
    """The part of `input_tokens` that the provider read from its cache, where it says."""

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a source that a tool brought home."""

    document: str
    """What the passage is part of: a URL, or a local document's id. Equal for every passage of one source."""
    title: str
    """The source's title, for people."""
    text: str
    """The source's own words: what a quote is looked up in."""
    url: str | None = None
    """Where a reader finds the source; None for a local document."""
    shown: str | None = None
    """What the model reads instead of `text`, such as an extraction; None to read `text`."""
    is_own_work: bool = False
    """Made by the run itself, as a program's output is: addresses in it are the model's words, not the web's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedPassage:
    """A passage under the number its source has in this run."""

    source_id: SourceId
    passage: Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What a model is told of a tool."""

    name: str
    """`[a-z0-9_]+`, unique among the tools of a pipeline."""
    description: str
    parameters: JsonObject
    """A JSON Schema (draft 2020-12) of type `object`."""
    is_parallel_safe: bool = True
    """Whether calls of one turn may run side by side."""
    is_outward: bool = False
    """Whether the arguments leave the deployment: to a search engine, a page's host, somebody's server."""
    server: str = ""
    """The MCP server it is from; empty for the deployment's own."""
    remote_name: str = ""
    """What that server calls it."""
    is_xml_only: bool = False
    """Offered only in the `mcp_xml` format, to models that were trained on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call as the model asked for it."""

    call_id: str
    name: str
    arguments: JsonObject = field(default_factory=dict[str, JsonValue])
    malformed: str = ""
    """What is wrong with the arguments' JSON; empty when it parsed to an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFile:
    """A file that a tool brought back, such as a plot."""

    name: str
    """Without directories."""
    media_type: str
    size_bytes: int
    data_base64: str = ""
    """Its bytes; empty when it is larger than a tool may bring back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file that came with a question; this run alone can read it."""

    name: str
    """Without directories, unique among the question's files."""
    media_type: str
    data_base64: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """What a tool hands back: words for the model, and passages that get numbers of the run."""

    text: str = ""
    """For the model, before the passages. A tool whose result is all passages leaves it empty."""
    passages: tuple[Passage, ...] = ()
    summary: str = ""
    """One line for people, such as "8 passages from 5 documents"."""
    is_cached: bool = False
    is_empty: bool = False
    """The call worked and found nothing."""
    usage: Usage = field(default_factory=Usage)
    """Of a model that the tool asked, such as the one that extracts."""
    shown: str = ""
    """What people see of it besides the summary, such as a program's output."""
    files: tuple[ToolFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """A call's outcome, as recorded and as the model reads it. A failure is a value, too."""

    call_id: str
    name: str
    ok: bool
    content: str
    """What the model reads: rendered passages under their numbers, or the error with a hint."""
    passages: tuple[CitedPassage, ...] = ()
    """Everything it brought home, for the check of the citations."""
    summary: str = ""
    duration_seconds: float = 0.0
    is_cached: bool = False
    is_empty: bool = False
    error_code: str | None = None
    usage: Usage = field(default_factory=Usage)
    """Of a model that the tool asked."""
    tool_calls: int = 0
    """Calls made within it, where it researched on its own."""
    elapsed_seconds: float = 0.0
    """Seconds the run had worked, over all attempts, when this was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation with a model."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant's message: what it called."""
    call_id: str | None = None
    """Of a tool's message: the call it answers."""
    passages: tuple[CitedPassage, ...] = ()
    """Of a tool's message: its content's passages in structured form, for models that are not language models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model is to write; None leaves the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that one run may use. Every figure is at least 1."""

    max_turns: int = 20
    """Model turns of research; the turn that writes the report is not counted."""
    max_tool_calls: int = 100
    max_tokens: int = 1_000_000
    """Tokens read and written, over all turns."""
    max_seconds: float = 3600.0
    """Seconds of work, over all attempts, waiting in the queue excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFormat:
    """The form of an answer that is JSON and nothing else; `json_answers` checks it."""

    schema: JsonObject | None = None
    """A JSON Schema (draft 2020-12) that `json_answers.check_schema` took; None for any JSON object."""
    name: str = ""
    """What the client calls it."""
    description: str = ""
    """What the client says of it, for the model."""
    is_strict: bool = False
    """Whether the client asked for strictness; every answer is checked either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAllowance:
    """Which of a deployment's tools a run may use, where that is not all of them."""

    names: tuple[str, ...] = ()
    """Of the deployment's own tools."""
    servers: dict[str, tuple[str, ...] | None] = field(default_factory=dict[str, tuple[str, ...] | None])
    """MCP servers by name, each with those of its tools that may be used, as it calls them; None for all of them."""

    @property
    def is_empty(self) -> bool:
        """Whether the run may use no tool at all."""
        return not self.names and not self.servers

    def allows(self, spec: ToolSpec) -> bool:
        """Whether the run may use this tool."""
        if not spec.server:
            return spec.name in self.names
        remote_names = self.servers.get(spec.server, ())
        return remote_names is None or spec.remote_name in remote_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, by whom it does not say."""

    messages: tuple[Message, ...]
    """Oldest first; the last one is the user's, and is the question; earlier ones are its history."""
    model: str = ""
    """The model asked for; empty for the pipeline's default."""
    budget: Budget = field(default_factory=Budget)
    sampling: Sampling = field(default_factory=Sampling)
    output: OutputKind = "report"
    files: tuple[InputFile, ...] = ()
    json_format: JsonFormat | None = None
    """The form of the answer where it is to be JSON alone; None for Markdown. Only with `output` `report`."""
    tools: ToolAllowance | None = None
    """The tools that may be used; None for all."""

    @property
    def text(self) -> str:
        """The question itself."""
        return self.messages[-1].content


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One turn asked of a model."""

    messages: tuple[Message, ...]
    """At most one system message, at index 0; every tool message answers a call of the assistant message before it."""
    tools: tuple[ToolSpec, ...] = ()
    """Empty when the report is to be written."""
    model: str = ""
    """The model asked for; empty for the client's default."""
    sampling: Sampling = field(default_factory=Sampling)
    json_format: JsonFormat | None = None
    """The form of the reply where it is to be JSON alone, as the messages say, too."""
    run_id: RunId = RunId("")
    step: StepName = StepName("")
    """Run and step name the call: its Idempotency-Key upstream is `{run_id}/{step}`."""
    deadline_seconds: float | None = None
    """Seconds this turn may take in all; None for the client's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDelta:
    """A piece of a reply as it streams in."""

    kind: Literal["reasoning", "text"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraction:
    """What streamed so far of this reply is void; the reply starts again."""

    reason: str
    """One line for people, free of the upstream's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """A whole reply."""

    text: str
    """The visible text: neither thinking nor tool-call syntax."""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """The model that answered, as the provider named it."""
    elapsed_seconds: float = 0.0
    """Seconds the run had worked, over all attempts, when this was recorded; the loop sets it, models leave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A numbered statement of the report, checked against its source."""

    source_id: SourceId
    quote: str
    """The statement that carries the number, without its Markdown."""
    is_verbatim: bool
    """Whether `quote` stands in the source's stored text, white space aside."""
    title: str
    document: str
    url: str | None
    start: int
    """Where the statement starts in the report, in characters."""
    end: int
    """Where its number ends, in characters: `report[start:end]` is the statement with its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run comes to."""

    report: str
    """Markdown; numbers in brackets cite the sources listed at its end."""
    citations: tuple[Citation, ...] = ()
    usage: Usage = field(default_factory=Usage)
    stop_reason: StopReason = "finished"
    answer: str | None = None
    """What the model put into the box, where a short answer was asked for."""
