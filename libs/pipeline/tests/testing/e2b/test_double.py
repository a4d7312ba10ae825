"""What the SDK's own tests of the sandboxes do not show of the double: its refusals, its ledger, its ends."""

import asyncio
import io
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from thinkpool_pipeline.testing.e2b import Fault, SimulatedE2B
from thinkpool_pipeline.testing.e2b.kernel_program import Kernel


async def create(client: aiohttp.ClientSession, key: str = "", **body: object) -> tuple[int, dict]:
    headers = {"Idempotency-Key": key} if key else {}
    async with client.post("/v2/sandboxes", json={"templateID": "t", **body}, headers=headers) as reply:
        return reply.status, await reply.json()


def access(made: dict) -> dict[str, str]:
    return {"E2b-Sandbox-Id": made["sandboxID"], "X-Access-Token": made["envdAccessToken"]}


async def test_a_request_that_was_made_before_gets_the_sandbox_of_then(e2b, client):
    e2b.limits.creation_seconds = 0.05
    (_, first), (_, second) = await asyncio.gather(create(client, "one"), create(client, "one"))
    other_status, _ = await create(client, "one", timeout=5)

    assert first["sandboxID"] == second["sandboxID"]
    assert other_status == 409
    assert len(e2b.ledger.sandboxes) == 1


async def test_a_creation_is_gone_through_with_though_its_client_leaves(e2b, client):
    e2b.limits.creation_seconds = 0.1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(create(client), 0.02)
    await e2b.ledger.until(lambda ledger: ledger.alive)

    assert [call.is_left for call in e2b.ledger.calls] == [True]


async def test_the_account_refuses_what_is_too_much_or_too_fast(e2b, client):
    e2b.limits.max_alive = 1
    assert (await create(client))[0] == 201
    status, body = await create(client)
    assert (status, body["code"]) == (429, 429)

    e2b.limits.max_alive, e2b.limits.creations_per_second = None, 0.01
    async with client.post("/v2/sandboxes", json={}) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (429, "1")


async def test_a_sandbox_is_its_keys_own(e2b, client):
    _, made = await create(client)
    others = {"X-API-KEY": "key-b"}
    async with client.get("/v2/sandboxes", headers=others) as reply:
        assert await reply.json() == []
    for method, path in (("DELETE", ""), ("POST", "/timeout"), ("POST", "/connect")):
        prefix = "/v2" if path == "/connect" else ""
        target = f"{prefix}/sandboxes/{made['sandboxID']}{path}"
        async with client.request(method, target, headers=others, json={}) as reply:
            assert reply.status == 404
    async with client.get("/files?path=x", headers={**access(made), "X-Access-Token": "guessed"}) as reply:
        assert reply.status == 401

    assert len(e2b.ledger.alive) == 1


async def test_a_key_that_the_account_does_not_have_is_refused(e2b, client):
    e2b.limits.api_keys = frozenset({"key-b"})

    assert (await create(client))[0] == 401


async def test_connecting_lengthens_a_life_and_never_shortens_it(e2b, client):
    _, made = await create(client, timeout=60)
    [sandbox] = e2b.ledger.sandboxes
    for seconds, is_longer in ((30, False), (600, True)):
        before = await ends_at(client)
        async with client.post(f"/v2/sandboxes/{made['sandboxID']}/connect", json={"timeout": seconds}) as reply:
            assert (reply.status, (await reply.json())["sandboxID"]) == (200, sandbox.sandbox_id)
        assert (await ends_at(client) > before) is is_longer


async def ends_at(client: aiohttp.ClientSession) -> str:
    async with client.get("/v2/sandboxes") as reply:
        [sandbox] = await reply.json()
    return sandbox["endAt"]


async def test_a_sandbox_ends_when_its_time_is_up_with_all_that_runs_in_it(e2b, client):
    _, made = await create(client, timeout=1)
    code = {"code": "import os; print(os.getpid(), flush=True)"}
    async with client.post("/execute", json=code, headers=access(made)) as reply:
        lines = [json.loads(line) for line in (await reply.text()).splitlines()]
    process = os.pidfd_open(next(int(line["text"]) for line in lines if line["type"] == "stdout"))
    is_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(process, is_gone.set)
    await e2b.ledger.until(lambda ledger: not ledger.alive)
    await is_gone.wait()
    asyncio.get_running_loop().remove_reader(process)
    os.close(process)
    async with client.get("/health", headers=access(made)) as reply:
        assert (reply.status, (await reply.json())["message"]) == (502, "The sandbox was not found")

    assert [(record.end, record.ended_at > record.created_at) for record in e2b.ledger.sandboxes] == [("expired", True)]


async def test_nothing_outlives_the_double(tmp_path):
    async with (
        asyncio.timeout(20),
        SimulatedE2B() as e2b,
        aiohttp.ClientSession(e2b.url, headers={"X-API-KEY": "k"}) as client,
    ):
        _, made = await create(client)
        code = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(f'/proc/{{os.getpid()}} {{os.getcwd()}}')"
        async with client.post("/execute", json={"code": code}, headers=access(made)) as reply:
            await reply.read()

    assert not any(map(exists, (tmp_path / "pid").read_text().split()))


def exists(path: str) -> bool:
    return Path(path).exists()


async def test_paths_never_lead_out_of_a_sandboxs_directory(e2b, client):
    _, made = await create(client)
    for path in ("/../../../../../../etc/hostname", "../../../../../../../../etc/hostname"):
        async with client.get("/files", params={"path": path}, headers=access(made)) as reply:
            assert reply.status == 404


async def test_a_directory_that_is_not_there_or_a_process_that_is_not_is_said_in_connects_way(e2b, client):
    _, made = await create(client)
    listing = "/filesystem.Filesystem/ListDir", {"path": "/nowhere", "depth": 1}
    killing = "/process.Process/SendSignal", {"process": {"pid": 1}, "signal": "SIGNAL_SIGKILL"}
    for path, body in (listing, killing):
        async with client.post(path, json=body, headers=access(made)) as reply:
            assert (reply.status, (await reply.json())["code"]) == (404, "not_found")


async def test_a_directory_is_listed_as_deep_as_is_asked(e2b, client):
    _, made = await create(client)
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="a")
    async with client.post("/files?path=/home/user/one/two/a", data=form, headers=access(made)) as reply:
        assert [entry["name"] for entry in await reply.json()] == ["a"]
    for depth, names in ((1, ["one"]), (2, ["one", "two"]), (3, ["one", "two", "a"])):
        body = {"path": "/home/user", "depth": depth}
        async with client.post("/filesystem.Filesystem/ListDir", json=body, headers=access(made)) as reply:
            assert [entry["name"] for entry in (await reply.json())["entries"]] == names


async def test_faults_meet_those_they_are_meant_for_as_often_as_they_are_to(e2b, client):
    e2b.faults.add(Fault(kind="status", status=500, endpoint="create", run_id="run-*", times=1))
    metadata = {"thinkpool-run": "run-1"}

    assert [(await create(client, metadata=metadata))[0] for _ in range(2)] == [500, 201]
    assert [(call.fault, call.status, call.run_id) for call in e2b.ledger.calls] == [
        ("status", 500, "run-1"),
        ("", 201, "run-1"),
    ]
    e2b.faults.add(Fault(kind="status", api_key="key-b"))
    assert (await create(client))[0] == 201
    e2b.faults.clear()
    assert repr(e2b).endswith("<Ledger [3 calls, 2 of 2 sandboxes alive]>>")


def cells(*codes: str) -> list[list[dict]]:
    """What the kernel answers to each of these cells."""
    answers = io.StringIO()
    kernel = Kernel(answers)
    replies = []
    for code in codes:
        start = answers.tell()
        kernel.execute(code)
        replies.append([json.loads(line) for line in answers.getvalue()[start:].splitlines()])
    return replies


@pytest.fixture
def _streams():
    """A kernel replaces the process's streams; here they are put back."""
    before = sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT)
    yield
    sys.stdout, sys.stderr = before[:2]
    signal.signal(signal.SIGINT, before[2])


@pytest.mark.usefixtures("_streams")
def test_a_kernel_streams_what_a_cell_prints_and_shows_its_last_value():
    [first, second] = cells("import sys\nx = 1\nprint('a')\nprint('b', end='', file=sys.stderr)\nx + 1", "x = 5\nNone")

    kinds = [(line["type"], line.get("text")) for line in first]
    assert kinds == [
        ("number_of_executions", None),
        ("stdout", "a\n"),
        ("result", "2"),
        ("stderr", "b"),
        ("idle", None),
    ]
    assert [line["type"] for line in second] == ["number_of_executions", "idle"]


@pytest.mark.usefixtures("_streams")
def test_a_kernel_tells_errors_as_a_notebook_does():
    [[*_, error, idle], [*_, syntax, _]] = cells("def f():\n    1/0\nf()", "1 +")

    assert (error["type"], error["name"], error["value"]) == ("error", "ZeroDivisionError", "division by zero")
    assert error["traceback"].startswith('Traceback (most recent call last):\n  File "<cell 1>", line 3, in <module>')
    assert error["traceback"].endswith("\x1b[0;31mZeroDivisionError\x1b[0m: division by zero")
    assert syntax["name"] == "SyntaxError"
    assert idle == {"type": "idle"}


@pytest.mark.usefixtures("_streams")
def test_a_kernel_shows_rich_values_and_figures():
    code = "class R:\n    def _repr_png_(self): return b'png'\n    def _repr_html_(self): return '<b>'\ndisplay(R(), 1)"
    [rich, figure] = cells(code, "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])\nplt.show()")

    shown = [line for line in rich if line["type"] == "result"]
    assert [(line.get("png"), line.get("html"), line["is_main_result"]) for line in shown] == [
        ("cG5n", "<b>", False),
        (None, None, False),
    ]
    [plot] = [line for line in figure if line["type"] == "result"]
    assert plot["png"].startswith("iVBOR")
