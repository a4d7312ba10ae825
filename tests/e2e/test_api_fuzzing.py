"""schemathesis against a real server: what it makes of the API's description, every answer held against it.

The server has documents, a pool and no network, and its runs are done in a moment, so that a stream that does not end
is a fault, as is everything else that takes ten seconds. The description is given to the tool in OpenAPI 3.2's words,
in which it checks each message of a stream, too.
"""

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from test_builtin_run import write_documents

from conftest import OpenServer

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "nothing_is_repeated",
)
"""Of the tool's own, all but those that ask for what is not so: a valid body may ask for a model that is not there, and
there are no keys."""

REQUEST_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one run of the tool."""

    is_passed: bool
    cases: int
    output: str


def in_words_of_3_2(value: Any) -> Any:
    """With `itemSchema` for a stream's messages; its `schema` would be of the list of them all."""
    match value:
        case {"x-itemSchema": message, "example": example}:
            return {"itemSchema": message, "example": example}
        case dict():
            return {key: in_words_of_3_2(item) for key, item in value.items()}
        case list():
            return [in_words_of_3_2(item) for item in value]
        case _:
            return value


async def trial(server: LiveServer, directory: Path, *, seed: int, max_examples: int, seconds: float) -> Trial:
    document = in_words_of_3_2(await server.get("/openapi.json")) | {"openapi": "3.2.0"}
    described = directory / "openapi.json"
    described.write_text(json.dumps(document))
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--no-color", "run", described, "--url", server.url, "--seed", str(seed), "--mode", "all"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(max_examples), "--no-shrink"),
        *("--checks", ",".join(CHECKS), "--request-timeout", str(REQUEST_SECONDS), "--continue-on-failure"),
        *("--suppress-health-check", "all", "--generation-database", "none", "--warnings", "off"),
        cwd=directory,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "echo_check",
            "PYTHONPATH": str(Path(__file__).parent),
            "DESCRIBED": str(described),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = output.decode()
    cases = re.search(r"(\d+) generated", told)
    return Trial(is_passed=process.returncode == 0, cases=int(cases[1]) if cases else 0, output=told)


async def check(open_server: OpenServer, tmp_path: Path, *, seed: int, max_examples: int, seconds: float) -> Trial:
    documents = tmp_path / "documents"
    write_documents(documents)
    settings = {"KNOWLEDGE_DIR": str(documents), "PIPELINE_POOL_SIZE": "2", "MAX_QUEUED_REQUESTS": "1000"}
    async with open_server(**settings) as server:
        await server.knows_documents()
        found = await trial(server, tmp_path, seed=seed, max_examples=max_examples, seconds=seconds)
        sys.stdout.write(found.output)
        assert found.is_passed
        assert (await server.health())["status"] == "ok"
    assert "Traceback" not in server.stderr
    return found


@pytest.mark.timeout(300)
async def test_no_request_that_follows_the_description_or_breaks_it_is_answered_otherwise_than_described(
    open_server: OpenServer, tmp_path: Path
) -> None:
    found = await check(open_server, tmp_path, seed=1, max_examples=1, seconds=280)
    assert found.cases > 500


@pytest.mark.long
@pytest.mark.timeout(2_000)
@pytest.mark.parametrize("seed", [1, 2])
async def test_nor_are_five_thousand(open_server: OpenServer, tmp_path: Path, seed: int) -> None:
    found = await check(open_server, tmp_path, seed=seed, max_examples=100, seconds=1_900)
    assert found.cases >= 5_000
