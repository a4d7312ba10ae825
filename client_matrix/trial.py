"""One client against a server of its own with the simulated upstream, and what came of it."""

import asyncio
import base64
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkpool_pipeline.testing.upstream import SimulatedUpstream, Timing

from client_matrix.clients import Client
from client_matrix.environments import Environment, environment_of
from client_matrix.stage import open_stage
from client_matrix.telling import Told
from tests.e2e.cutting_proxy import cutting_proxy
from tests.e2e.live_server import LiveServer, upstream_settings
from tests.e2e.npm_environment import PackageUnavailable

KEY = "sk-of-the-matrix"
"""What the client sends; pages of a browser ask an open server."""
_SECRET = "whsec_" + base64.b64encode(os.urandom(32)).decode()
TIMING = Timing(first_token_seconds=0.03, token_seconds=0.005, search_seconds=0.03, page_seconds=0.08)
"""A reply takes long enough to be streamed in several pieces: the server gathers tokens for 50 ms."""
INSTALL_SECONDS = 300.0
TRIAL_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A row of the table."""

    client: str
    version: str = ""
    did: tuple[str, ...] = ()
    fault: str = ""
    """Empty when all worked."""
    details: str = ""
    is_missing: bool = False
    """The client cannot be had here; `fault` says why."""

    @property
    def result(self) -> str:
        """The last column."""
        if self.is_missing:
            return "not installed"
        return f"FAILED: {self.fault}" if self.fault else "works"


async def try_client(client: Client, directory: Path) -> Outcome:
    """Installs the client into the directory, which is made, and runs its script."""
    place = directory / client.name
    place.mkdir()
    environment = environment_of(client, place)
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            version = await environment.install()
    except (PackageUnavailable, TimeoutError) as error:
        return Outcome(client=client.name, fault=str(error) or "no answer", is_missing=True)
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            told = await _trial(client, environment, directory / f"{client.name}-data")
    except TimeoutError:
        told = Told(fault=f"it was not done within {TRIAL_SECONDS:.0f} seconds")
    return Outcome(client=client.name, version=version, did=tuple(told.did), fault=told.fault, details=told.details)


async def _trial(client: Client, environment: Environment, data_dir: Path) -> Told:
    keys = {} if client.kind == "page" else {"SERVER_API_KEYS": f"matrix:{KEY}"}
    async with open_stage() as stage, SimulatedUpstream(timing=TIMING) as upstream:
        settings = {
            **upstream_settings(upstream),
            **keys,
            "CORS_ORIGINS": stage.url,
            "WEBHOOK_SECRETS": _SECRET,
            "WEBHOOK_HOSTS": "127.0.0.1",
        }
        async with LiveServer(data_dir, settings) as server, cutting_proxy(server.url) as proxy:
            stage.cut = proxy.cut
            variables = {
                "THINKPOOL_URL": proxy.url,
                "THINKPOOL_KEY": KEY,
                "OPENAI_WEBHOOK_SECRET": _SECRET,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it first looks for prices in the web
            }
            told = await environment.run(stage, variables)
            told.fault = told.fault or fault_in(told, await _runs(server)) or server.stderr.strip()[:200]
            return told


async def _runs(server: LiveServer) -> list[Any]:
    headers = {"Authorization": f"Bearer {KEY}"}
    listed = await server.get("/v1/research?limit=100", **headers)
    return [await server.get(f"/v1/research/{run['id']}", **headers) for run in listed["runs"]]


def fault_in(told: Told, runs: list[Any]) -> str:
    """What is wrong with what a client told, by the server's own record of its runs; empty when nothing is."""
    if not told.did:
        return "nothing was done"
    reports = {run["result"]["report"] for run in runs if run["status"] == "completed"}
    for did, text in told.texts:
        if text not in reports:
            return f"{did}: the text is no run's report"
    ended = Counter(run["status"] for run in runs)
    if set(ended) - {"completed", "cancelled"}:
        return f"runs ended as {dict(ended)}"
    twice = [query for query, times in Counter(run["query"] for run in runs).items() if times > 1]
    return f"asked once, two runs: {twice[0]}" if twice else ""
