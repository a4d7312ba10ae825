"""`thinkpool doctor` on real trouble: on this machine, in its settings, at its services."""

import asyncio
import os
import pty
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from time import time

import orjson
import pytest
from aiohttp import web
from doctor_command import QUICK, Doctor
from live_server import upstream_settings
from thinkpool_pipeline.testing import mcp_process
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream
from thinkpool_server.data_directory import hold_data_directory
from thinkpool_server.testing.ports import lasting_port

from conftest import OpenServer

BUBBLEWRAP = shutil.which("bwrap")
MODEL = {"BASE_URL": "http://127.0.0.1:1/v1", "DEFAULT_MODEL_NAME": "simulated"}


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


def can_mount() -> bool:
    if BUBBLEWRAP is None:
        return False
    return (
        subprocess.run([BUBBLEWRAP, "--dev-bind", "/", "/", "--size", "4096", "--tmpfs", "/mnt", "true"]).returncode
        == 0
    )


def with_open_files(files: int) -> list[str]:
    """What to put before a command, so that it may open so many."""
    return ["sh", "-c", 'ulimit -S -n "$0" && exec "$@"', str(files)]


# -- a machine that is as it should be ---------------------------------------------------------------------------------


async def test_a_fresh_machine_is_healthy_and_nothing_is_written(doctor: Doctor) -> None:
    process = await doctor.start("--json", PORT=str(lasting_port()), before=with_open_files(4096))
    out, err = await process.communicate()
    findings = orjson.loads(out)["findings"]
    levels = {finding["check"]: finding["level"] for finding in findings if finding["check"] != "memory"}
    assert set(levels.values()) == {"ok"}, findings
    assert {"settings", "data directory", "database", "model", "web search", "sandbox", "file limit"} < levels.keys()
    assert process.returncode == 0
    assert err == b""
    assert list(doctor.directory.iterdir()) == []


async def test_a_pipe_that_nobody_reads_ends_it_without_a_word(doctor: Doctor) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await doctor.start(stdout=writing, **QUICK)
    os.close(writing)
    _, err = await process.communicate()
    assert err == b""
    assert process.returncode == 128 + signal.SIGPIPE


async def test_in_a_pipe_it_is_plain_text_with_a_line_for_what_to_do(doctor: Doctor) -> None:
    process = await doctor.start(**(QUICK | {"HEARTBEAT_SECONDS": "30"}))
    out, _ = await process.communicate()
    lines = out.decode().splitlines()
    (warned,) = [number for number, line in enumerate(lines) if line.startswith("warning  settings ")]
    assert lines[warned + 1].strip() == "-> set it to 15 or less"
    assert lines[-1].startswith("ThinkPool ")
    assert ": 1 warning; " in lines[-1]
    assert "\x1b" not in out.decode()
    assert process.returncode == 0


@pytest.mark.parametrize("is_plain", [False, True])
async def test_in_a_terminal_it_has_colours_unless_they_are_unwanted(doctor: Doctor, is_plain: bool) -> None:
    own, theirs = pty.openpty()
    colours = {"NO_COLOR": "1"} if is_plain else {}
    process = await doctor.start(stdout=theirs, TERM="xterm-256color", **(QUICK | MODEL | colours))
    os.close(theirs)
    printed = b""
    loop = asyncio.get_running_loop()
    while piece := await loop.run_in_executor(None, _read, own):
        printed += piece
    os.close(own)
    await process.communicate()
    text = printed.decode()
    assert "nothing listens there" in " ".join(text.split())
    assert "→ start it, or correct BASE_URL" in text
    assert ("\x1b[1;31mproblem" in text) is not is_plain
    assert process.returncode == 1


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


# -- settings ----------------------------------------------------------------------------------------------------------


async def test_wrong_and_misspelt_settings_are_named_and_no_value_is_shown(doctor: Doctor) -> None:
    (doctor.directory / ".env").write_text(
        "PIPELINE_POLL_SIZE=secret-one\nthis is secret-two\nPORT=secret-three\nPOSTGRES_PASSWORD=secret-four\n"
        "API_KEY=secret-five\nDATABASE_URL=postgresql://secret-six:secret-seven@127.0.0.1:1/runs\n"
    )
    found = await doctor.examine(PORT="", THINKPOOL_LOG_LEVEL="secret-eight", BASE_URL="secret-nine")
    said = {finding.found: finding for finding in found.of("settings")}
    wrong = said["PORT should be a valid integer, unable to parse string as an integer"]
    assert (wrong.level, wrong.mend.split(";")[0]) == ("problem", "correct it in .env")
    wrong = said["BASE_URL should be an http or https URL"]
    assert (wrong.level, wrong.mend.split(";")[0]) == ("problem", "correct it in the environment")
    assert said[".env has what is no setting in line 2"].level == "warning"
    assert "PIPELINE_POOL_SIZE" in said["PIPELINE_POLL_SIZE in .env is no setting, and changes nothing"].mend
    assert "LOG_LEVEL" in said["THINKPOOL_LOG_LEVEL in the environment is no setting, and changes nothing"].mend
    assert not any("POSTGRES" in finding.found for finding in found.findings)
    assert found.one("address").found == "not looked at, because of PORT"
    assert found.one("model").found == "not looked at, because of API_KEY, BASE_URL, DEFAULT_MODEL_NAME"
    assert not any(finding.found.startswith("BASE_URL should be set") for finding in found.of("settings"))
    assert "nothing listens there" in found.one("database").found, "what is right is looked at all the same"
    assert found.code == 1
    assert "secret" not in found.printed


async def test_settings_that_do_not_fit_together_are_a_problem_and_what_they_touch_is_left_out(doctor: Doctor) -> None:
    found = await doctor.examine(HOST="0.0.0.0")
    (wrong,) = found.of("settings")
    assert wrong.level == "problem"
    assert wrong.found.startswith("HOST should be of this machine, or SERVER_API_KEYS")
    assert found.one("address").found == "not looked at, because of HOST"


async def test_where_settings_come_from_is_told(doctor: Doctor) -> None:
    (doctor.directory / ".env").write_text("MAX_TURNS=7\nPORT=1\nMAX_TOKENS=\n")
    found = await doctor.examine(SANDBOX="off")
    assert found.one("settings").found == (
        "3 from the environment (PORT, SANDBOX, WEB_ACCESS), 1 from .env (MAX_TURNS)"
    )


async def test_env_file_that_is_no_text_is_a_problem(doctor: Doctor) -> None:
    (doctor.directory / ".env").write_bytes(b"PORT=\xff\xfe\n")
    found = await doctor.examine()
    assert [(finding.level, finding.found) for finding in found.of("settings")][-1] == (
        "problem",
        ".env cannot be read",
    )


# -- the machine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("files", "level"), [(160, "problem"), (1024, "warning"), (4096, "ok")])
async def test_few_open_files_leave_too_little_room_for_streams(doctor: Doctor, files: int, level: str) -> None:
    found = (await doctor.examine(before=with_open_files(files))).one("file limit")
    assert found.level == level
    assert ("ulimit -n 2048" in found.mend) is (level != "ok")


@pytest.mark.skipif(not can_mount(), reason="file systems cannot be mounted here")
async def test_a_group_of_little_memory_and_processor_time_is_noticed(doctor: Doctor) -> None:
    for name, text in (
        ("memory.max", "400000000\n"),
        ("memory.current", "390000000\n"),
        ("memory.stat", "anon 1\ninactive_file 1000000\n"),
        ("cpu.max", "5000 100000\n"),
    ):
        (doctor.directory / name).write_text(text)
    before = [str(BUBBLEWRAP), "--dev-bind", "/", "/", "--ro-bind", str(doctor.directory), "/sys/fs/cgroup"]
    found = await doctor.examine(before=before)
    assert found.one("memory").level == "problem"
    assert found.one("memory").found == "0.0 GiB free; 5 pipelines may use 0.3 GiB"
    assert found.one("processors").level == "warning"
    assert found.one("processors").found == "0.05 for 5 pipelines"


# -- the data directory ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_mount(), reason="file systems cannot be mounted here")
@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (("--ro-bind", "{0}", "{0}"), "cannot be written: Read-only file system"),
        (("--size", "32768", "--tmpfs", "{0}"), "cannot be written: No space left on device"),
        (("--size", "1048576", "--tmpfs", "{0}"), "can be written, 0.0 GiB free"),
    ],
)
async def test_a_disk_that_takes_nothing_is_a_problem(doctor: Doctor, mount: tuple[str, ...], words: str) -> None:
    directory = doctor.directory / "data"
    directory.mkdir()
    mounted = [part.format(directory) for part in mount]
    found = await doctor.examine(before=[str(BUBBLEWRAP), "--dev-bind", "/", "/", *mounted], DATA_DIR=str(directory))
    assert found.one("data directory").level == "problem"
    assert words in found.one("data directory").found
    assert found.code == 1


async def test_databases_are_looked_through_and_left_as_they_are(doctor: Doctor, open_server: OpenServer) -> None:
    async with open_server() as server:
        await server.events(await server.submit("What is a pool?"))
        await server.kill()  # so that there is a journal to read
    directory = doctor.directory / "data"
    before = {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.endswith("-shm")}
    assert "runs.db-wal" in before
    found = await doctor.examine(DATA_DIR=str(directory))
    assert [finding.found.partition(",")[0] for finding in found.of("database")] == [
        "SQLite: runs.db is sound",
        "SQLite: knowledge.db is sound",
    ]
    after = {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.endswith("-shm")}
    assert after == before
    for name in ("runs.db", "knowledge.db"):
        with closing(sqlite3.connect(directory / name)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(directory / "runs.db", "run_events")
    (directory / "knowledge.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    broken, index = (await doctor.examine(DATA_DIR=str(directory))).of("database")
    assert (broken.level, index.level) == ("problem", "problem")
    assert broken.found.startswith("SQLite: runs.db is broken: ")
    assert index.found == "SQLite: knowledge.db is broken: it is no database, or its beginning is lost"
    assert index.mend == "delete it: it is made again from the documents"


def spoil(database: Path, table: str) -> None:
    """Overwrites the first page of a table."""
    with closing(sqlite3.connect(database)) as connection:
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)


async def test_a_running_server_is_asked_how_it_is_and_not_disturbed(
    doctor: Doctor, open_server: OpenServer, slow_upstream: SimulatedUpstream
) -> None:
    port = str(lasting_port())
    async with open_server(slow_upstream, PORT=port) as server:
        run_id = await server.submit("What is a pool?")
        shown = {"DATA_DIR": str(doctor.directory / "data"), "PORT": port}
        found, events = await asyncio.gather(doctor.examine(**shown), server.events(run_id))
        assert events[-1].type == "run.completed"
        assert found.bad() == []
        assert (
            f"in use by the server at {server.url} (process {server.process.pid})" in found.one("data directory").found
        )
        assert found.one("database").found == "SQLite, in use: left alone"
        assert found.one("address").found == f"127.0.0.1:{port}: held by the server that uses the data directory"
        assert found.one("server").found.startswith(f"{server.url} is ok: version ")
        server.process.send_signal(signal.SIGSTOP)
        try:
            frozen = await doctor.examine(**shown)
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert [finding.check for finding in frozen.bad()] == ["server"]
        assert "does not answer" in frozen.one("server").found
        elsewhere = await doctor.examine(PORT=port)
        assert elsewhere.one("address").level == "problem"
        assert "a ThinkPool server that uses another data directory" in elsewhere.one("address").found


async def test_a_process_that_serves_nobody_is_told(doctor: Doctor) -> None:
    with hold_data_directory(doctor.directory / "data"):
        found = (await doctor.examine(DATA_DIR=str(doctor.directory / "data"))).one("data directory")
    assert f"in use by a process that serves nobody else (process {os.getpid()})" in found.found
    assert found.level == "ok"


# -- the address -------------------------------------------------------------------------------------------------------


async def test_an_address_that_cannot_be_had_is_a_problem(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        held, foreign = await asyncio.gather(
            doctor.examine(PORT=str(taken.getsockname()[1])),
            doctor.examine(PORT=str(lasting_port()), HOST="203.0.113.1", ALLOW_OPEN="true"),
        )
    assert held.one("address").level == foreign.one("address").level == "problem"
    assert held.one("address").found.endswith(": taken by another program")
    assert foreign.one("address").found.endswith(": Cannot assign requested address")
    assert "whoever reaches this server may use it" in foreign.of("settings")[1].found


# -- models ------------------------------------------------------------------------------------------------------------


async def test_all_services_are_found_well_and_nothing_is_paid_for(doctor: Doctor, upstream: SimulatedUpstream) -> None:
    services = upstream_settings(upstream) | {"SEARXNG_URL": f"{upstream.base_url}/searxng", "WEB_ACCESS": "true"}
    found = await doctor.examine(**services)
    assert found.bad() == []
    assert found.one("model").found == f"simulated at {upstream.base_url}/v1: reached, key accepted, model known"
    assert found.one("page model").level == "ok"
    assert len(found.of("web search")) == 2
    assert found.one("page reader").level == "ok"
    assert found.one("clock").found == "agrees with that of 127.0.0.1"
    assert {entry.endpoint for entry in upstream.ledger.entries} == {"models", "searxng"}
    assert all(not entry.subject for entry in upstream.ledger.entries)
    assert "upstream-key" not in found.printed
    assert "search-key" not in found.printed


async def test_asked_to_pay_it_has_the_model_say_a_word(doctor: Doctor, upstream: SimulatedUpstream) -> None:
    found = await doctor.examine("--paid", **(upstream_settings(upstream) | {"WEB_ACCESS": "false"}))
    assert found.bad() == []
    assert "it answers" in found.of("model")[1].found
    assert [entry.endpoint for entry in upstream.ledger.entries].count("chat") == 2, "one a model"
    upstream.faults.add(Fault(kind="status", endpoint="chat", status=404))
    refused = (await doctor.examine("--paid", **(upstream_settings(upstream) | {"WEB_ACCESS": "false"}))).of("model")[1]
    assert refused.level == "problem"
    assert "asked for a word, it gives none" in refused.found


async def test_a_web_that_cannot_be_reached_is_told_with_where_it_was_tried(doctor: Doctor) -> None:
    found = await doctor.examine(WEB_ACCESS="true", HTTPS_PROXY="http://127.0.0.1:1")
    assert found.one("web search").found.startswith("none: 127.0.0.1:1 cannot be reached, ")


async def test_a_model_that_refuses_the_key_is_a_problem(doctor: Doctor, upstream: SimulatedUpstream) -> None:
    upstream.faults.add(Fault(kind="status", status=401))
    found = await doctor.examine(**(upstream_settings(upstream) | {"WEB_ACCESS": "false"}))
    assert [(finding.check, finding.level) for finding in found.bad()] == [
        ("model", "problem"),
        ("page model", "problem"),
    ]
    assert found.one("model").mend == "correct API_KEY"
    assert found.one("page model").mend == "set SUMMARY_LLM_API_KEY"
    assert found.code == 1


async def test_a_model_that_never_answers_holds_nothing_up(doctor: Doctor, upstream: SimulatedUpstream) -> None:
    upstream.faults.add(Fault(kind="stall"))
    found = await doctor.examine(BASE_URL=f"{upstream.base_url}/v1", DEFAULT_MODEL_NAME="simulated")
    assert [finding.check for finding in found.bad()] == ["model"]
    assert "it does not answer within 6 s" in found.one("model").found


async def test_a_clock_that_differs_from_the_endpoints_is_noticed(doctor: Doctor) -> None:
    async def models(_: web.Request) -> web.Response:
        headers = {"Date": formatdate(time() + 3600, usegmt=True)}
        return web.json_response({"data": [{"id": "simulated"}]}, headers=headers)

    app = web.Application()
    app.add_routes([web.get("/v1/models", models)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        found = await doctor.examine(**(MODEL | {"BASE_URL": url}))
    finally:
        await runner.cleanup()
    assert found.one("clock").level == "warning"
    assert found.one("clock").found.endswith(" s behind that of 127.0.0.1")
    assert float(found.one("clock").found.split()[1]) == pytest.approx(3600, abs=2)


async def test_a_model_of_ones_own_that_cannot_be_made_is_a_problem(doctor: Doctor) -> None:
    (doctor.directory / "mine.py").write_text("class NoTool: pass\n")
    found = await doctor.examine(EXTRA_MODELS="mine:Missing", EXTRA_TOOLS="mine:NoTool")
    assert found.one("model").level == found.one("own tools").level == "problem"
    assert "mine:Missing" in found.one("model").found
    assert "mine:NoTool" in found.one("own tools").found


# -- tools -------------------------------------------------------------------------------------------------------------


async def test_servers_of_tools_that_die_or_hang_are_problems_and_spoil_no_other(doctor: Doctor) -> None:
    def server(*habits: str) -> dict[str, object]:
        one = mcp_process.stdio_server(*habits)
        return {"command": one.command, "args": list(one.args), "env": dict(one.env)}

    dead = {"command": sys.executable, "args": ["-c", "raise SystemExit(1)", "secret-argument"]}
    servers = {"well": server(), "old": server("--touchy"), "dead": dead, "deaf": server("--deaf")}
    closed = server() | {"allowed_tools": []}
    (doctor.directory / "mcp.json").write_bytes(orjson.dumps({"mcpServers": servers | {"closed": closed}}))
    found = await doctor.examine()
    levels = [(finding.found.partition(":")[0], finding.level) for finding in found.of("MCP servers")]
    assert levels == [
        ("well", "ok"),
        ("old", "ok"),
        ("dead", "problem"),
        ("deaf", "problem"),
        ("closed", "warning"),
    ]
    assert "secret-argument" not in found.printed


async def test_a_file_of_servers_that_is_wrong_is_a_problem(doctor: Doctor) -> None:
    (doctor.directory / "mcp.json").write_text('{"mcpServers": {"one": {"comand": "secret"}}}')
    missing, wrong = await asyncio.gather(doctor.examine(MCP_CONFIG="nowhere.json"), doctor.examine())
    assert missing.one("MCP servers").found == "MCP_CONFIG is no file that exists"
    assert wrong.one("MCP servers").level == "problem"
    assert "secret" not in wrong.printed
