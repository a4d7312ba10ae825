"""Which clients are tried, and with which script."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPTS = Path(__file__).with_name("scripts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client, and how it is tried."""

    name: str
    kind: Literal["python", "node", "page"]
    """A Python program, a program for Node.js, or a page in Chromium."""
    script: str
    """Its file in `scripts`."""
    packages: tuple[str, ...] = ()
    """Of the client: their versions are told."""
    beside: tuple[str, ...] = ()
    """Packages that the script needs besides."""


CLIENTS = {
    client.name: client
    for client in (
        Client(name="openai", kind="python", script="with_openai.py", packages=("openai",)),
        Client(name="pydantic-ai", kind="python", script="with_pydantic_ai.py", packages=("pydantic-ai-slim[openai]",)),
        Client(
            name="langchain-openai", kind="python", script="with_langchain_openai.py", packages=("langchain-openai",)
        ),
        Client(name="litellm", kind="python", script="with_litellm.py", packages=("litellm",), beside=("mcp",)),
        Client(name="llm", kind="python", script="with_llm.py", packages=("llm",)),
        Client(name="mcp", kind="python", script="with_mcp.py", packages=("mcp",)),
        Client(
            name="mcp-inspector",
            kind="node",
            script="with_mcp_inspector.mjs",
            packages=("@modelcontextprotocol/inspector",),
        ),
        Client(name="ai", kind="node", script="with_ai.mjs", packages=("ai", "@ai-sdk/openai-compatible")),
        Client(name="ui-stream", kind="node", script="with_ui_stream.mjs", packages=("ai",)),
        Client(
            name="use-chat",
            kind="page",
            script="use_chat_page.jsx",
            packages=("@ai-sdk/react",),
            beside=("ai", "react", "react-dom", "esbuild"),
        ),
        Client(name="eventsource", kind="node", script="with_eventsource.mjs", packages=("eventsource",)),
        Client(name="chromium", kind="page", script="event_source_page.mjs"),
    )
}
"""By name, in the table's order."""
