"""What the client's page shows, runs, and what it promises to name, is there."""

import asyncio
import re
from dataclasses import fields
from pathlib import Path

import pytest
from thinkpool import client
from thinkpool.client import RetryPolicy
from thinkpool_server.schemas import ResearchRequest
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import REPORT, completed_run
from thinkpool_server.testing.serving import served

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "python-client.md").read_text()
README = (DOCS.parent / "README.md").read_text()
EXAMPLES = [
    text
    for page in (PAGE, (DOCS / "clients.md").read_text(), README)
    for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    if "thinkpool.client" in text
]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_an_example_runs_as_it_stands(number, capsys):
    async with served(MemoryRunService(completed_run())) as place:
        program = EXAMPLES[number].replace("http://127.0.0.1:8000", place.url)
        await asyncio.to_thread(exec, compile(program, f"example {number}", "exec"), {"__name__": "__main__"})
        assert place.service.submissions
    printed = capsys.readouterr().out
    assert REPORT in printed or "sky.example" in printed


def test_there_are_examples():
    assert len(EXAMPLES) == 7


def test_every_error_and_every_option_is_named():
    errors = {name for name, value in vars(client).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {name for name in errors if f"`{name}`" not in PAGE and name != "RunEnded"} == set()
    options = set(client.ResearchOptions.__annotations__)
    assert {name for name in options if f"`{name}`" not in PAGE and f"{name}=" not in PAGE} == set()


def test_the_options_are_what_the_server_takes():
    asked = set(ResearchRequest.model_fields) - {"query", "messages", "stream", "input_files"}
    assert set(client.ResearchOptions.__annotations__) - {"files", "idempotency_key"} == asked


def test_the_defaults_are_those_that_the_page_tells():
    told = dict(re.findall(r"`(\w+_seconds)` \((\d+)\)", PAGE))
    assert told == {field.name: f"{field.default:g}" for field in fields(RetryPolicy) if field.name in told}
    assert len(told) == 3


def test_everything_public_is_there_and_nothing_twice():
    assert sorted(client.__all__) == sorted(set(client.__all__))
    assert [name for name in client.__all__ if not hasattr(client, name)] == []
