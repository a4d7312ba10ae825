"""Writes a turn for models that know tools from the system prompt and write their calls into their text.

No `tools`, no role of their own for results: calls are text again, and what a turn's calls came to is one message of
the user's. Roles alternate, as many chat templates demand.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from thinkpool_pipeline.models.tagged_calls.dialect import NamedCall, ShownTool, ToolDialect
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.values import Message, ModelRequest

UNREADABLE_CALL = "unreadable_call"
"""The name of a call whose own name is not to be found."""


def xml_request(request: ModelRequest, dialect: ToolDialect) -> ModelRequest:
    """The same turn with its tools, calls and results as text."""
    system, *messages = _with_system(request.messages)
    if request.tools:
        tools = prompt("tools_xml", tools=_listed(dialect.shown()))
        system = replace(system, content=f"{system.content}\n\n{tools}".lstrip())
    opening = [system] if system.content else []
    return replace(request, messages=(*opening, *_alternating(_as_text(messages, dialect))), tools=())


def _with_system(messages: Sequence[Message]) -> Sequence[Message]:
    if messages and messages[0].role == "system":
        return messages
    return (Message(role="system", content=""), *messages)


def _listed(tools: Sequence[ShownTool]) -> str:
    """The tools by server, in the order in which the servers first come up."""
    servers = list(dict.fromkeys(tool.server for tool in tools))
    return "\n\n".join(
        "\n\n".join([f"## Server name: {server}", *(_described(tool) for tool in tools if tool.server == server)])
        for server in servers
    )


def _described(tool: ShownTool) -> str:
    schema = json.dumps(tool.parameters, ensure_ascii=False)
    return f"### Tool name: {tool.name}\nDescription: {tool.description}\nInput JSON schema: {schema}"


def _as_text(messages: Sequence[Message], dialect: ToolDialect) -> Iterable[Message]:
    names: dict[str | None, str] = {}
    for is_result, group in groupby(messages, lambda message: message.role == "tool"):
        if is_result:
            yield _results([(names.get(message.call_id, ""), message.content) for message in group])
            continue
        for message in group:
            calls = [dialect.theirs(NamedCall(name=call.name, arguments=call.arguments)) for call in message.tool_calls]
            names |= {call.call_id: shown.name for call, shown in zip(message.tool_calls, calls, strict=True)}
            blocks = [_block(call) for call in calls if call.name != UNREADABLE_CALL]
            content = "\n\n".join(part for part in (message.content.rstrip(), *blocks) if part)
            if content or message.role != "assistant":
                yield Message(role=message.role, content=content)


def _block(call: NamedCall) -> str:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return (
        f"<use_mcp_tool>\n<server_name>{call.server}</server_name>\n<tool_name>{call.name}</tool_name>\n"
        f"<arguments>\n{arguments}\n</arguments>\n</use_mcp_tool>"
    )


def _results(results: Sequence[tuple[str, str]]) -> Message:
    """A turn's results in one message, in call order, each under its tool's name."""
    parts = [
        f"# Result {number} of {len(results)}: {name}\n\n{content}" for number, (name, content) in enumerate(results, 1)
    ]
    return Message(role="user", content="\n\n".join(parts))


def _alternating(messages: Iterable[Message]) -> Iterable[Message]:
    """The messages, those of one role that follow one another made one."""
    for _, group in groupby(messages, lambda message: message.role):
        first, *others = group
        yield replace(first, content="\n\n".join([first.content, *(message.content for message in others)]))
