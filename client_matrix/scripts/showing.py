"""How a script tells the matrix what worked."""

import json
import os

URL = os.environ["THINKPOOL_URL"]
"""The server, without a path."""
KEY = os.environ["THINKPOOL_KEY"]


def show(did: str, text: str | None = None) -> None:
    """Something worked; `text` must be the report of a run, letter by letter."""
    print(json.dumps({"did": did, "text": text}), flush=True)
