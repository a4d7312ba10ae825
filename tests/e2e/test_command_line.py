"""The command `thinkpool` as people start it: in a process of its own, with its exit codes."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from live_server import upstream_settings
from thinkpool_server.data_directory import hold_data_directory

COMMAND = Path(sys.executable).with_name("thinkpool")


class Finished:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.decode(), err.decode()


@pytest.fixture
def start(tmp_path):
    async def run(*arguments, **environment):
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "COV" in name}
        return await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            cwd=tmp_path,
            env=kept | {"DATA_DIR": str(tmp_path / "data"), "LANG": "C.UTF-8"} | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # as in a script's background job; it would be inherited
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield run
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def command(start):
    async def run(*arguments, **environment):
        process = await start(*arguments, **environment)
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return Finished(process.returncode, out, err)

    return run


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PORT": "99999"}, "PORT should be less than or equal to 65535"),
        ({"HOST": "nowhere.invalid", "ALLOW_OPEN": "true"}, "HOST and PORT should be free to listen on"),
        ({"DATA_DIR": "/proc/version/data", "PORT": "0"}, "DATA_DIR cannot be written"),
    ],
)
async def test_wrong_setting_stops_the_start_with_one_line_that_names_it(command, environment, words):
    done = await command("serve", **environment)
    assert done.code == 2
    assert done.out in ("", f"ThinkPool {version('thinkpool-server')} starts\n")
    assert len(done.err.splitlines()) == 1
    assert words in done.err


async def test_an_empty_question_is_refused(command):
    done = await command("ask", " ")
    assert done.code == 2
    assert "question: it should not be empty" in done.err


async def test_taken_port_is_told(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await command("serve", PORT=str(port))
    assert done.code == 2
    assert f"HOST and PORT should be free to listen on, and 127.0.0.1:{port} is not: Address already in use" in done.err


async def test_server_says_what_it_is_and_stops_on_a_signal_with_code_0(open_server):
    async with open_server(PIPELINE_POOL_SIZE="2", SERVER_API_KEYS="team:team-key") as server:
        told = dict(re.split(r"  +", line, maxsplit=1) for line in server.start_output if "  " in line)
        assert told["model"].startswith("builtin: no language model")
        assert told["tools"] == "search_documents, read_document; no run_python: SANDBOX is off"
        assert Path(told["data directory"]).is_absolute()
        assert told["pool"] == "2 pipelines; 10 runs at once, 100 may wait"
        assert told["access"] == "with a key"
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+", server.start_output[-1])
        assert await server.terminate() == 0


async def test_server_with_a_model_names_it(open_server, upstream):
    async with open_server(upstream) as server:
        assert f"model           simulated at {upstream.base_url}/v1" in server.start_output
        assert any("web_search" in line for line in server.start_output)


async def test_second_signal_ends_the_server_at_once(open_server, slow_upstream):
    async with open_server(slow_upstream, SHUTDOWN_GRACE_SECONDS="600") as server:
        async with server.session.post("/v1/research", json={"query": "q", "stream": True}) as response:
            await response.content.readuntil(b"event: turn.started")
            server.process.send_signal(signal.SIGTERM)
            await response.content.read()
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await server.process.wait() in (0, 1)


async def test_ask_without_a_server_does_the_work_itself(command):
    done = await command("ask", "How does a run survive a crash?")
    assert done.code == 0, done.err
    assert done.out.startswith("*Written by ThinkPool's builtin researcher")
    assert "[1]" in done.out
    assert "## Sources" in done.out
    assert done.err == ""


async def test_ask_prints_events_as_lines_of_json(command):
    done = await command("ask", "--json", "How does a run survive a crash?")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [event["id"] for event in events if event["id"]] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "run.queued"
    assert events[-1]["type"] == "run.completed"


async def test_ask_goes_to_the_server_that_holds_the_data_directory(command, open_server):
    async with open_server(SERVER_API_KEYS="team:s3cret-key") as server:
        done = await command("ask", "What is a pool?", SERVER_API_KEYS="team:s3cret-key")
        runs = await server.get("/v1/research", Authorization="Bearer s3cret-key")
    assert done.code == 0
    assert done.err == f"thinkpool: the data directory is in use by the server at {server.url}; asking there.\n"
    assert [run["query"] for run in runs["runs"]] == ["What is a pool?"]


async def test_ask_a_server_elsewhere_needs_its_key(command, open_server):
    async with open_server(SERVER_API_KEYS="team:s3cret-key") as server:
        refused = await command("ask", "Why?", "--url", server.url)
        done = await command("ask", "Why?", "--url", server.url, "--api-key", "s3cret-key")
    assert refused.code == 1
    assert "thinkpool: The server refused (401)" in refused.err
    assert done.code == 0


async def test_data_directory_of_a_process_that_serves_nobody_is_told(command, tmp_path):
    with hold_data_directory(tmp_path / "data"):
        done = await command("ask", "q")
    assert done.code == 2
    assert "DATA_DIR is in use by another" in done.err


async def test_failing_model_ends_with_code_1_and_its_reason(command, upstream):
    settings = upstream_settings(upstream) | {"BASE_URL": "http://127.0.0.1:1/v1", "MODEL_MAX_ATTEMPTS": "1"}
    done = await command("ask", "Why?", **settings)
    assert done.code == 1
    assert "The run failed (model-unavailable)" in done.err


@pytest.mark.parametrize("is_remote", [False, True])
async def test_interrupt_cancels_the_run_and_exits_with_130(start, open_server, slow_upstream, is_remote):
    async with open_server(slow_upstream) as server:
        where = ("--url", server.url) if is_remote else ()
        apart = {"DATA_DIR": "elsewhere"} | upstream_settings(slow_upstream)
        process = await start("ask", "--json", "Why?", *where, **apart)
        async with asyncio.timeout(20):
            while b"turn.started" not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    assert process.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["type"] == "run.cancelled"


async def test_interrupt_before_there_is_a_run_exits_with_130(start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = await start("ask", "Why?", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        asked = asyncio.get_running_loop().sock_accept
        silent.setblocking(False)
        async with asyncio.timeout(20):
            connection, _ = await asked(silent)
            with connection:
                process.send_signal(signal.SIGINT)
                _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b""


async def test_upstream_is_started_with_options_of_its_own(start):
    process = await start("upstream", "--profile", "instant")
    async with asyncio.timeout(20):
        assert json.loads(await process.stdout.readline())["url"].startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
