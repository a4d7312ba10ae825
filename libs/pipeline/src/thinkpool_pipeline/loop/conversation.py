"""The conversation with the model, and the copy of it that still fits the model's window.

Old tool results become one-line stubs in that copy; their passages stay on the message, for models that read them in
structured form. Sizes are estimates, corrected by the provider's own figures as soon as there are any.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from thinkpool_pipeline.loop.settings import LoopSettings
from thinkpool_pipeline.values import Message, ModelReply, ToolResult

BYTES_PER_TOKEN = 4
"""Of text, as estimated."""
_MESSAGE_TOKENS = 8
_GUARD_TOKENS = 1_000
_GUARD_FACTOR = 1.5
_MAX_OUTPUT_SHARE = 4
"""A reply gets no more than this part of the window kept free, so that small windows hold research, too."""


@dataclass(frozen=True, slots=True)
class _Entry:
    full: Message
    full_tokens: int
    stub: Message | None = None
    stub_tokens: int = 0


class Conversation:
    """All that was said in one run, oldest first."""

    def __init__(self, opening: Iterable[Message], settings: LoopSettings, *, max_output_tokens: int) -> None:
        self._entries = [_Entry(message, estimate(message)) for message in opening]
        self._window_tokens = settings.context_tokens
        self._max_output_tokens = min(max_output_tokens, settings.context_tokens // _MAX_OUTPUT_SHARE)
        self._keep = settings.keep_tool_results
        self._max_chars: int | None = None
        self._results = 0
        self._sent_tokens = 0
        self._known_tokens = 0
        self._tokens_per_estimate = 1.0

    def __repr__(self) -> str:
        return f"<Conversation [{len(self._entries)} messages, {self._results} tool results]>"

    def add_reply(self, reply: ModelReply) -> None:
        """The model's turn, and what it says of the size of the conversation that it answered."""
        self._sent_tokens = self._tokens(self._keep)
        prompt_tokens = reply.usage.input_tokens or self._sent_tokens
        self._tokens_per_estimate = min(max(prompt_tokens / max(self._sent_tokens, 1), 0.5), 3.0)
        message = Message(role="assistant", content=reply.text, tool_calls=reply.tool_calls)
        self._known_tokens = prompt_tokens + (reply.usage.output_tokens or estimate(message))
        if reply.text or reply.tool_calls:
            self._entries.append(_Entry(message, estimate(message)))
            self._sent_tokens += self._entries[-1].full_tokens

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """The results of the newest turn's calls, in call order."""
        for result in results:
            full = Message(role="tool", content=result.content, call_id=result.call_id, passages=result.passages)
            stub = replace(full, content=_stub(result))
            self._entries.append(_Entry(full, estimate(full), stub, estimate(stub)))
        self._results += len(results)

    def is_shown(self, call_id: str) -> bool:
        """Whether the model still reads the result of this call in full."""
        shown = self._results if self._keep < 0 else self._keep
        newest = [entry.full.call_id for entry in reversed(self._entries) if entry.stub]
        return call_id in newest[:shown]

    def has_room_for_a_turn(self, report_prompt: Message) -> bool:
        """Whether the window holds one more research turn and, after it, the report."""
        growth = self._tokens(self._keep) - self._sent_tokens
        needed = self._known_tokens + (growth * _GUARD_FACTOR if growth > 0 else growth)
        needed += estimate(report_prompt) + self._max_output_tokens + _GUARD_TOKENS
        return needed < self._window_tokens

    def for_research(self) -> tuple[Message, ...]:
        """The conversation as the next research turn reads it: the newest tool results in full, older ones as stubs."""
        return self._messages(self._keep)

    def for_report(self, report_prompt: Message) -> tuple[Message, ...]:
        """The conversation as the writer reads it: as many results in full as the window holds, newest first."""
        room = self._window_tokens - self._max_output_tokens - _GUARD_TOKENS - estimate(report_prompt)
        most = self._results if self._max_chars is None else max(self._keep, 0)
        keep = next(
            (kept for kept in range(most, 0, -1) if self._tokens(kept) * self._tokens_per_estimate <= room),
            min(most, 1),
        )
        return (*self._messages(keep), report_prompt)

    def shrink(self) -> bool:
        """Makes it much shorter, for a model that found it too long. False if that was done before."""
        if self._max_chars is not None:
            return False
        self._keep = 1
        self._max_chars = self._window_tokens
        return True

    def _messages(self, keep: int) -> tuple[Message, ...]:
        stubs = 0 if keep < 0 else self._results - keep
        messages: list[Message] = []
        for entry in self._entries:
            if entry.stub is None:
                messages.append(entry.full)
                continue
            messages.append(entry.stub if stubs > 0 else self._cut(entry.full))
            stubs -= 1
        return tuple(messages)

    def _tokens(self, keep: int) -> int:
        stubs = 0 if keep < 0 else self._results - keep
        total = 0
        for entry in self._entries:
            if entry.stub is None:
                total += entry.full_tokens
                continue
            total += entry.stub_tokens if stubs > 0 else entry.full_tokens
            stubs -= 1
        return total

    def _cut(self, message: Message) -> Message:
        if self._max_chars is None or len(message.content) <= self._max_chars:
            return message
        return replace(message, content=cut(message.content, self._max_chars))


def cut(text: str, max_chars: int) -> str:
    """The text's beginning, with a word on how much is missing; the text itself when it is short enough."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]}\n[Cut here: {len(text) - max_chars} more characters.]"


def _stub(result: ToolResult) -> str:
    numbers = dict.fromkeys(item.source_id for item in result.passages)
    sources = f" It gave the sources {', '.join(f'[{number}]' for number in numbers)}." if numbers else ""
    return f"[This result of {result.name} was left out to save room.{sources} Repeat the call to read it again.]"


def estimate(message: Message) -> int:
    """The tokens of a message, roughly."""
    size = len(message.content.encode("utf-8", "replace"))
    size += sum(len(call.name) + len(str(call.arguments)) for call in message.tool_calls)
    return size // BYTES_PER_TOKEN + _MESSAGE_TOKENS
