"""A model of one's own: it searches the documents once, and quotes the first sentence of each source it finds."""

import re

from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.values import ModelDelta, ModelReply, ModelRequest, ToolCall


class FirstSentences:
    """The model `first-sentences`."""

    name = "first-sentences"

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """A search in the first turn, nothing in the second, and the quotes when the report is to be written."""
        has_searched = any(message.role == "tool" for message in request.messages)
        if request.tools and not has_searched:
            question = next(message.content for message in reversed(request.messages) if message.role == "user")
            search = ToolCall(call_id="search", name="search_documents", arguments={"query": question})
            return ModelReply(text="", tool_calls=(search,), finish_reason="tool_calls")
        text = "" if request.tools else _quotes(request)
        if text and on_delta is not None:
            on_delta(ModelDelta(kind="text", text=text))
        return ModelReply(text=text)


def _quotes(request: ModelRequest) -> str:
    quotes = {
        cited.source_id: re.split(r"(?<=[.!?])\s", cited.passage.text.strip(), maxsplit=1)[0].rstrip(".")
        for message in request.messages
        for cited in message.passages
    }
    return "\n".join(f"- {quote} [{number}]." for number, quote in quotes.items()) or "Nothing was found."
