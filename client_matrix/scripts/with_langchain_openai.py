"""LangChain's ChatOpenAI on both of OpenAI's APIs, whole and streamed."""

from langchain_openai import ChatOpenAI
from showing import KEY, URL, show

for name, is_responses in (("chat", False), ("responses", True)):
    model = ChatOpenAI(model="simulated", base_url=f"{URL}/v1", api_key=KEY, use_responses_api=is_responses)
    whole = model.invoke(f"What is known of subject one, by {name}?")
    assert whole.usage_metadata["output_tokens"] > 0
    show(name, whole.text)
    if is_responses:
        citations = [citation for block in whole.content_blocks for citation in block.get("annotations", ())]
        assert citations
        assert all(citation["url"].startswith("http") for citation in citations)
        show("citations as content blocks")

    chunks = list(model.stream(f"What is known of subject two, by {name}?"))
    assert sum(bool(chunk.text) for chunk in chunks) > 1
    show(f"{name} streamed", "".join(chunk.text for chunk in chunks))

    history = [("user", f"What is known of subject one, by {name}?"), whole, ("user", f"And of three, by {name}?")]
    show(f"{name} with history", model.invoke(history).text)
