"""What a run was asked, as the items of a response's input."""

from typing import cast

from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject, Message

from thinkpool_server.projections.responses.identity import part_id
from thinkpool_server.runs import RunRecord


def input_items(record: RunRecord) -> list[JsonObject]:
    """The messages of the request, oldest first, without what came from its `instructions` and an earlier response."""
    first = cast(int, record.echo.get("first_input", 0))
    messages = record.question.messages
    items = [_item(record, number, messages[number]) for number in range(first, len(messages))]
    cast("list[JsonValue]", items[-1]["content"]).extend(
        {"type": "input_file", "filename": file.name} for file in record.files
    )
    return items


def _item(record: RunRecord, number: int, message: Message) -> JsonObject:
    is_ours = message.role == "assistant"
    part: JsonObject = {"type": "input_text", "text": message.content}
    if is_ours:
        part = {"type": "output_text", "text": message.content, "annotations": []}
    return {
        "id": part_id("msg", record.run_id) + f"_input_{number}",
        "type": "message",
        "role": message.role,
        "status": "completed",
        "content": [part],
    }
