"""The command `llm`: a server is a few lines in a file of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from showing import KEY, URL, show

with tempfile.TemporaryDirectory() as folder:
    os.environ["LLM_USER_PATH"] = folder
    Path(folder, "extra-openai-models.yaml").write_text(
        f"- model_id: thinkpool\n  model_name: simulated\n  api_base: {URL}/v1\n  api_key_name: thinkpool\n"
    )

    def llm(*arguments: str) -> str:
        """What the command prints."""
        command = (Path(sys.executable).with_name("llm"), *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 -- our own

    llm("keys", "set", "thinkpool", "--value", KEY)
    show("a prompt, streamed", llm("-m", "thinkpool", "What is known of subject one?").removesuffix("\n"))
    show("a prompt, whole", llm("--no-stream", "-m", "thinkpool", "What is known of subject two?").removesuffix("\n"))
    show("the conversation continued", llm("-c", "And of subject three?").removesuffix("\n"))
