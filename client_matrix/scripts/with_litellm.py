"""LiteLLM's completion and responses, whole and streamed. Its responses need the package mcp beside it."""

import litellm
from showing import KEY, URL, show

server = {"model": "openai/simulated", "api_base": f"{URL}/v1", "api_key": KEY}

asked = [{"role": "user", "content": "What is known of subject one?"}]
whole = litellm.completion(messages=asked, **server)
assert whole.usage.total_tokens > 0
show("completion", whole.choices[0].message.content)

asked = [{"role": "user", "content": "What is known of subject two?"}]
chunks = list(litellm.completion(messages=asked, stream=True, **server))
deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
assert len(deltas) > 1
show("completion streamed", "".join(deltas))


def text_of(response: litellm.ResponsesAPIResponse) -> str:
    """The text of a response's last item."""
    return response.output[-1].content[0].text


show("responses", text_of(litellm.responses(input="What is known of subject three?", **server)))

events = list(litellm.responses(input="What is known of subject four?", stream=True, **server))
deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
assert len(deltas) > 1
assert "".join(deltas) == text_of(events[-1].response)
show("responses streamed", "".join(deltas))
