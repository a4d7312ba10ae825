"""A real Prometheus with the shipped rules asks a real server: rules work, and the dashboard's panels have data."""

import asyncio
import json
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from thinkpool_pipeline.testing.upstream import Fault
from thinkpool_server.testing.ports import lasting_port

FOLDER = Path(__file__).parents[2] / "monitoring"
PROGRAM = shutil.which("prometheus")
EXPRESSIONS = {
    target["expr"]: panel["title"]
    for panel in json.loads((FOLDER / "grafana" / "thinkpool.json").read_text())["panels"]
    for target in panel["targets"]
}
CHOICES = {
    re.sub('status="5xx"', 'status="2xx"', choice)
    for choice in re.findall(r"\w+\{[^}{$]*\}", (FOLDER / "alerts.yml").read_text())
    if "!=" not in choice and "up{" not in choice
}
"""The series that rules choose by labels: a misspelt one would leave its rule silent for ever."""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Prometheus on this machine")


@asynccontextmanager
async def prometheus(folder, target):
    """The API of a Prometheus with the shipped configuration, but one given target, asked every second."""
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (scrape,) = configuration["scrape_configs"]
    del scrape["dns_sd_configs"]
    scrape["static_configs"] = [{"targets": [target]}]
    configuration["global"] = dict.fromkeys(configuration["global"], "1s")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(FOLDER / "alerts.yml", folder)
    address = f"127.0.0.1:{lasting_port()}"
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession(f"http://{address}") as session:
            while not await is_ready(session):
                assert process.returncode is None
            yield session
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def is_ready(session):
    try:
        async with session.get("/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def ask(session, expression):
    parameters = {"query": expression.replace("$__rate_interval", "1m")}
    async with session.get("/api/v1/query", params=parameters) as response:
        answer = await response.json()
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


async def scrapes(session):
    found = await ask(session, 'count_over_time(up{job="thinkpool"}[1h])')
    return int(found[0]["value"][1]) if found else 0


async def more_scrapes(session, count):
    aim = await scrapes(session) + count
    while await scrapes(session) < aim:
        pass


async def test_panels_have_data_and_rules_work_and_choose_by_labels_that_there_are(tmp_path, open_server, upstream):
    upstream.faults.add(Fault(kind="status", endpoint="search", status=401, times=1))
    async with (
        asyncio.timeout(50),
        open_server(upstream) as server,
        prometheus(tmp_path, server.url.removeprefix("http://")) as api,
    ):
        async with server.session.get("/ready") as response:
            await response.read()
        await server.events(await server.submit("What is a pool?"))
        upstream.faults.add(Fault(kind="status", endpoint="chat", status=401))
        await server.events(await server.submit("And what is a queue?"))
        await more_scrapes(api, 3)
        unknown = {choice for choice in CHOICES if not await ask(api, choice)}
        empty = {title for expression, title in EXPRESSIONS.items() if not await ask(api, expression)}
        async with api.get("/api/v1/rules") as response:
            groups = (await response.json())["data"]["groups"]
        assert unknown == set()
        assert empty == set()
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) >= 16
        assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
        assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()
