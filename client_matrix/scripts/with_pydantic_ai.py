"""Pydantic AI: an agent on either of OpenAI's APIs, whole and streamed."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from showing import KEY, URL, show

provider = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
models = {
    "chat": OpenAIChatModel("simulated", provider=provider),
    "responses": OpenAIResponsesModel("simulated", provider=provider),
}


async def main() -> None:
    """Asks each model twice, and once more with the conversation so far."""
    for name, model in models.items():
        agent = Agent(model)
        whole = await agent.run(f"What is known of subject one, by {name}?")
        assert whole.usage.output_tokens > 0
        show(name, whole.output)
        async with agent.run_stream(f"What is known of subject two, by {name}?") as streamed:
            deltas = [delta async for delta in streamed.stream_text(delta=True, debounce_by=None)]
        assert len(deltas) > 1
        show(f"{name} streamed", "".join(deltas))
        more = await agent.run(f"And of subject three, by {name}?", message_history=whole.all_messages())
        show(f"{name} with history", more.output)


asyncio.run(main())
