"""Reads a whole reply: what of it is text for people, and which calls it makes, in the names of the tools on offer."""

import re
from collections.abc import Iterator
from dataclasses import replace

from thinkpool_pipeline.models.tagged_calls.dialect import NamedCall, ToolDialect
from thinkpool_pipeline.models.tagged_calls.reading import tagged_calls
from thinkpool_pipeline.models.tagged_calls.visible_text import NeutralText, VisibleText
from thinkpool_pipeline.models.tagged_calls.xml_request import UNREADABLE_CALL
from thinkpool_pipeline.values import FinishReason, ModelReply, ModelRequest, ToolCall

INCOMPLETE = "its tags are incomplete"
QUOTED = "it stands in a code block, where it is a quotation"

_QUOTED_CALL = re.compile(r"<\s*/\s*(?:use_mcp_tool|tool_call)\s*>\s*(?:`{3,}|~{3,})\s*\Z", re.IGNORECASE)
_ENDING_LETTERS = 200


def read_reply(reply: ModelReply, request: ModelRequest) -> ModelReply:
    """The reply as the loop takes it. Without tools on offer it makes no calls."""
    text, thinking = VisibleText(), NeutralText()
    visible = text.feed(reply.text) + text.finish()
    reasoning = thinking.feed(reply.reasoning) + thinking.finish()
    calls = tuple(_calls(reply, request, text.calls)) if request.tools else ()
    if not calls and request.tools and (failure := _failure(reply.text, text)):
        calls = (ToolCall(call_id=f"{_id_prefix(request)}1", name=UNREADABLE_CALL, malformed=failure),)
    return replace(
        reply,
        text=visible,
        reasoning=reasoning,
        tool_calls=calls,
        finish_reason=_finish_reason(reply.finish_reason, has_calls=bool(calls)),
    )


def _calls(reply: ModelReply, request: ModelRequest, tagged: str) -> Iterator[ToolCall]:
    if not reply.tool_calls and not tagged:
        return
    dialect = ToolDialect(request.tools)
    made: list[NamedCall] = []
    for call in reply.tool_calls:
        ours = dialect.ours(NamedCall(name=call.name, arguments=call.arguments))
        made.append(ours)
        yield replace(call, name=ours.name, arguments=ours.arguments)
    for number, call in enumerate(tagged_calls(tagged, is_cut_off=reply.finish_reason == "length"), start=1):
        ours = dialect.ours(NamedCall(server=call.server, name=call.name or UNREADABLE_CALL, arguments=call.arguments))
        if ours not in made:  # some servers hand a call out both ways
            made.append(ours)
            call_id = f"{_id_prefix(request)}{number}"
            yield ToolCall(call_id=call_id, name=ours.name, arguments=ours.arguments, malformed=call.malformed)


def _id_prefix(request: ModelRequest) -> str:
    return f"call_{request.step.replace('/', '_') or 'turn'}_text_"


def _failure(whole: str, text: VisibleText) -> str:
    """Why a reply that makes no call seems to have meant one; empty if it does not."""
    if text.has_leftovers:
        return INCOMPLETE
    return QUOTED if _QUOTED_CALL.search(whole[-_ENDING_LETTERS:]) else ""


def _finish_reason(reason: FinishReason, *, has_calls: bool) -> FinishReason:
    if has_calls:
        return "tool_calls" if reason == "stop" else reason
    return "stop" if reason == "tool_calls" else reason
