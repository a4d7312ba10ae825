"""Events as the extended chat stream: blocks of research first, then the answer. No I/O; one object a request.

The wire format is that of the server which this one replaces. Blocks come one after the other, in the order in which
what they tell of began; what happens beside the block that is being sent waits for its turn. The blocks of a call that
researches on its own follow those of the call. Once the answer has begun there are no more blocks of research: what the
model thinks while it writes is left out, and so is what it thought in a turn that is done again after that.

A report that is begun again is treated as in `projections.chat`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue
from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import FinishReason

from thinkpool_server.projections.chat_chunks import CANCELLED, DONE, REWRITTEN, ChatChunks, ChatFailure, ChatHead
from thinkpool_server.projections.report_text import ReportText
from thinkpool_server.projections.task_blocks.calls import Call, label, to_json
from thinkpool_server.projections.task_blocks.labels import LABELS, Language
from thinkpool_server.projections.task_blocks.lanes import Block, Lane, Stat

_ROOT = 0


@dataclass(slots=True, kw_only=True)
class _Strand:
    """The turns and calls of the run, or of a call that researches on its own."""

    lane: Lane
    is_findings: bool = False
    """Whether the turn writes up what the call found."""
    part: str = ""
    """The type of the last delta."""
    block: Block | None = None
    """What the turn says."""

    def close_block(self) -> None:
        """Nothing more is said in it."""
        if self.block is not None:
            self.block.close()
            self.block = None


@dataclass(slots=True)
class _Research:
    """What is known of the run until its answer begins."""

    lane: Lane = field(default_factory=Lane)
    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    sources: dict[int, SourceFound] = field(default_factory=dict[int, SourceFound])
    unsettled: Call | None = None
    """A call that has ended, and whose sources may follow."""


class TaskStream:
    """One extended stream: bytes out for events in."""

    def __init__(self, head: ChatHead, *, has_usage: bool, language: Language) -> None:
        self._chunks = ChatChunks(head, has_usage=has_usage)
        self._head = head
        self._labels = LABELS[language]
        self._research = _Research()
        self._strands: dict[str | None, _Strand] = {None: _Strand(lane=self._research.lane)}
        self._blocks = 0
        self._is_answering = False
        self._report = ReportText()
        self._finish_reason: FinishReason = "stop"
        self.is_done = False
        """Whether nothing may follow."""

    def begin(self) -> bytes:
        """The root's first chunks: sent on acceptance."""
        start = self._root("message_start", label(self._labels.research))
        return start + self._root("message_process", "")

    def project(self, batch: Sequence[StoredEvent]) -> bytes:
        """What these events are in blocks; may be empty."""
        return b"".join(piece for stored in batch if stored.seq for piece in self._of_event(stored.event()))

    def end(self, failure: ChatFailure) -> bytes:
        """The last bytes of a stream that has no answer, or no end of one."""
        self.is_done = True
        pieces: list[bytes] = []
        if not self._is_answering:
            self._settle()
            self._research.lane.close()
            block = self._research.lane.block("research_think_block", label(self._labels.error))
            block.write(failure.message)
            block.close()
            pieces.extend(self._sendable())
            pieces.append(self._root("message_result", ""))
        return b"".join(pieces) + failure.frame() + DONE

    def _of_event(self, event: RunEvent) -> Iterator[bytes]:
        if self.is_done:
            return
        if not isinstance(event, SourceFound):
            self._settle()
        match event:
            case ReportDelta(turn=turn, text=text):
                yield from self._answer()
                yield from self._more(self._report.add(turn, text))
            case RunCompleted():
                yield from self._answer()
                yield from self._complete(event)
            case RunFailed(code=code, message=message):
                yield self.end(ChatFailure(code=code, message=message))
            case RunCancelled():
                yield self.end(CANCELLED)
            case _:
                self._note_report(event)
                if not self._is_answering:
                    self._research_on(event)
                    yield from self._sendable()

    def _note_report(self, event: RunEvent) -> None:
        match event:
            case TurnRetracted(turn=turn, within=None):
                self._report.retract(turn)
            case TurnFinished(finish_reason=reason, within=None):
                self._finish_reason = reason
            case _:
                pass

    def _research_on(self, event: RunEvent) -> None:
        match event:
            case TurnStarted() | TurnFinished() | TurnRetracted():
                self._turn(event)
            case ReasoningDelta() | MessageDelta():
                self._say(event)
            case ToolStarted() | ToolProgress() | ToolFinished():
                self._call(event)
            case SourceFound():
                self._research.sources[event.source_id] = event
                if (call := self._finder(event.within)) is not None:
                    call.found.append(event)
            case _:
                pass

    def _turn(self, event: TurnStarted | TurnFinished | TurnRetracted) -> None:
        strand = self._strand(event.within)
        if strand.block is not None and isinstance(event, TurnRetracted):
            strand.block.write(f"\n\n{self._labels.retracted}")
        strand.close_block()
        if isinstance(event, TurnStarted):
            strand.is_findings = event.purpose == "findings"

    def _say(self, event: ReasoningDelta | MessageDelta) -> None:
        strand = self._strand(event.within)
        is_findings = strand.is_findings and isinstance(event, MessageDelta)
        content_type = "research_text_block" if is_findings else "research_think_block"
        text = event.text
        if strand.block is not None and strand.block.content_type != content_type:
            strand.close_block()
        if strand.block is None:
            name = self._labels.findings if is_findings else self._labels.thinking
            strand.block = strand.lane.block(content_type, label(name))
        elif strand.part != event.type:
            text = f"\n\n{text}"
        strand.part = event.type
        strand.block.write(text)

    def _call(self, event: ToolStarted | ToolProgress | ToolFinished) -> None:
        research = self._research
        call = research.calls.get(event.call_id)
        match event:
            case ToolStarted() if call is None:
                strand = self._strand(event.within)
                strand.close_block()
                call = Call(lane=strand.lane.branch(), started=event, labels=self._labels, sources=research.sources)
                research.calls[event.call_id] = call
                call.begin()
            case ToolProgress(text=text) if call is not None:
                call.tell(text)
            case ToolFinished() if call is not None:
                call.finished = event
                research.unsettled = call
            case _:
                pass

    def _finder(self, within: str | None) -> Call | None:
        """The call that found a source: the one that ended just before, or the last that works."""
        if self._research.unsettled is not None:
            return self._research.unsettled
        working = (call for call in reversed(self._research.calls.values()) if call.finished is None)
        return next((call for call in working if call.started.within == within), None)

    def _settle(self) -> None:
        """Shows what the call gave that ended last: its sources stand right behind its end."""
        if self._research.unsettled is not None:
            self._research.unsettled.end()
            self._research.unsettled = None

    def _strand(self, within: str | None) -> _Strand:
        if within not in self._strands:
            call = self._research.calls.get(within or "")
            lane = self._research.lane if call is None else call.lane
            self._strands[within] = _Strand(lane=lane)
        return self._strands[within]

    def _answer(self) -> Iterator[bytes]:
        """Ends the research, once."""
        if self._is_answering:
            return
        self._is_answering = True
        lane = self._research.lane
        lane.close()
        lane.block("research_completed", label(self._labels.completed)).write("")
        lane.close()
        yield from self._sendable()
        yield self._root("message_result", "")

    def _more(self, news: str) -> Iterator[bytes]:
        if news:
            yield self._chunks.of({"role": "assistant", "index": self._blocks + 1, "content": news})
        if self._report.is_rewritten:
            yield self.end(REWRITTEN)

    def _complete(self, done: RunCompleted) -> Iterator[bytes]:
        yield from self._more(self._report.finish(done.report))
        if self.is_done:
            return
        index = self._blocks + 2  # behind the answer, which is the one behind the last block
        cited: list[JsonValue] = [*sorted({citation.source_id for citation in done.citations})]
        yield self._task("research_used_sources", "message_start", index, to_json({"cited": cited}))
        yield self._task("research_used_sources", "message_process", index, "")
        yield self._task("research_used_sources", "message_result", index, "")
        self.is_done = True
        yield self._chunks.end(self._finish_reason, done.usage)

    def _sendable(self) -> Iterator[bytes]:
        for piece in self._research.lane.sendable():
            block = piece.block
            if block.index is None:
                self._blocks += 1
                block.index = self._blocks
            yield self._task(block.content_type, piece.stat, block.index, piece.content)

    def _root(self, stat: Stat, content: str) -> bytes:
        return self._task("research_process_block", stat, _ROOT, content)

    def _task(self, content_type: str, stat: Stat, index: int, content: str) -> bytes:
        return self._chunks.of(
            {
                "role": "task",
                "taskstat": stat,
                "content_type": content_type,
                "parent_taskid": "" if index == _ROOT else self._task_id(_ROOT),
                "index": index,
                "taskid": self._task_id(index),
                "task_content": content,
                "content": "",
            }
        )

    def _task_id(self, index: int) -> str:
        return f"{self._head.run_id}-{index}"
