"""What the checks of `thinkpool doctor` make of what they meet; the whole command is tested in tests/e2e."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console
from thinkpool_pipeline.testing.e2b import AccountLimits, SimulatedE2B
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream
from thinkpool_server.cli.doctor.clock import ClockReading, clock_findings, date_reading, reading
from thinkpool_server.cli.doctor.command import fit_to_show
from thinkpool_server.cli.doctor.examination import Check, Subject, examine
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.cli.doctor.http_probe import reason_of
from thinkpool_server.cli.doctor.machine import available_bytes, available_processors
from thinkpool_server.cli.doctor.model import examine_model
from thinkpool_server.cli.doctor.rendering import Diagnosis, page, summary
from thinkpool_server.cli.doctor.sandbox import examine_sandbox
from thinkpool_server.cli.doctor.settings_advice import advice
from thinkpool_server.cli.doctor.web import examine_reader, examine_search
from thinkpool_server.settings import Settings


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    async with SimulatedUpstream() as opened:
        yield opened


def subject(**settings: Any) -> Subject:
    return Subject(settings=Settings(**settings))


# -- checks side by side ----------------------------------------------------------------------------------------------


async def test_checks_run_side_by_side_and_are_shown_in_their_order() -> None:
    met = asyncio.Barrier(2)

    async def meet(_: Subject) -> Sequence[Finding]:
        await met.wait()
        return [ok("pair", "met")]

    done: list[str] = []
    checks = [Check(name="first", examine=meet), Check(name="second", examine=meet)]
    found = await examine(subject(), checks, lambda check: done.append(check.name))
    assert [finding.check for finding in found] == ["pair", "pair", "clock"]
    assert sorted(done) == ["first", "second"]


async def test_a_check_that_hangs_or_fails_is_a_problem_and_spoils_no_other() -> None:
    async def hang(_: Subject) -> Sequence[Finding]:
        await asyncio.Event().wait()
        raise AssertionError

    async def fail(_: Subject) -> Sequence[Finding]:
        raise ZeroDivisionError("secret")

    async def give_up(_: Subject) -> Sequence[Finding]:
        raise TimeoutError

    async def work(_: Subject) -> Sequence[Finding]:
        return [ok("well", "well")]

    checks = [
        Check(name="hangs", examine=hang, seconds=0.01),
        Check(name="fails", examine=fail),
        Check(name="gives up", examine=give_up),
        Check(name="well", examine=work),
    ]
    found = {finding.check: finding for finding in await examine(subject(), checks, lambda _: None)}
    assert found["hangs"].level == "problem"
    assert found["hangs"].found == "hangs: nothing was found out within 0.01 s"
    assert found["fails"].found == "the check itself failed (ZeroDivisionError)"
    assert found["gives up"].found == "the check itself failed (TimeoutError)"
    assert found["well"].level == "ok"


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("their_time", "ahead_seconds"),
    [(100.0, 0.0), (109.9, 0.0), (99.0, -1.0), (112.5, 2.5)],
)
def test_a_clock_is_judged_only_by_what_the_time_on_the_way_leaves_certain(
    their_time: float, ahead_seconds: float
) -> None:
    found = reading("it", their_time, their_time, asked_at=100.0, answered_at=110.0)
    assert found == ClockReading(of="it", ahead_seconds=ahead_seconds)


def test_a_date_without_fractions_may_be_up_to_a_second_old() -> None:
    now = time()
    for moved, expected in ((0, 0.0), (60, 59.0), (-60, -60.0)):
        found = date_reading("it", formatdate(now + moved, usegmt=True), asked_at=now)
        assert found is not None
        assert found.ahead_seconds == pytest.approx(expected, abs=1.1)
    assert date_reading("it", "", asked_at=now) is None
    assert date_reading("it", "Thu, 99 Nonsense", asked_at=now) is None


def test_clocks_are_told_apart() -> None:
    readings = [
        ClockReading(of="the database", ahead_seconds=-2.1),
        ClockReading(of="models", ahead_seconds=1.9),
        ClockReading(of="pages", ahead_seconds=2.1),
    ]
    agrees, ahead, behind = clock_findings(readings)
    assert (agrees.level, agrees.found) == ("ok", "agrees with that of models")
    assert (ahead.level, ahead.found) == ("warning", "is 2.1 s ahead of that of the database")
    assert (behind.level, behind.found) == ("warning", "is 2.1 s behind that of pages")


# -- the machine ------------------------------------------------------------------------------------------------------


def test_memory_is_what_the_narrowest_group_leaves(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    write(tmp_path / "proc/self/cgroup", "0::/outer/inner\n")
    assert available_bytes(tmp_path) == 8000 * 1024
    inner = tmp_path / "sys/fs/cgroup/outer/inner"
    write(inner / "memory.max", "max\n")
    write(inner / "memory.current", "500\n")
    assert available_bytes(tmp_path) == 8000 * 1024
    write(inner.parent / "memory.max", "5000\n")
    write(inner.parent / "memory.current", "4000\n")
    write(inner.parent / "memory.stat", "active_file 7\ninactive_file 600\n")
    assert available_bytes(tmp_path) == 1600


def test_memory_that_nobody_tells_of_is_unknown(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None


def test_a_group_may_have_a_part_of_a_processor(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    assert available_processors(tmp_path) >= 1
    write(tmp_path / "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert available_processors(tmp_path) >= 1
    write(tmp_path / "sys/fs/cgroup/cpu.max", "25000 100000\n")
    assert available_processors(tmp_path) == 0.25


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- settings that go badly together ----------------------------------------------------------------------------------


def test_the_defaults_need_no_advice() -> None:
    assert advice(Settings()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0", "allow_open": True}, "whoever reaches this server may use it"),
        ({"cors_origins": ("*",)}, "CORS_ORIGINS"),
        ({"base_url": "http://models.example/v1", "default_model_name": "m", "api_key": "key-key"}, "in the clear"),
        ({"allow_model_urls": True}, "ALLOW_MODEL_URLS"),
        ({"log_content": True}, "LOG_CONTENT"),
        ({"code_timeout_seconds": 121}, "TOOL_TIMEOUT_SECONDS ends programs before"),
        ({"max_run_seconds": 599}, "MODEL_TOTAL_SECONDS is longer than MAX_RUN_SECONDS"),
        ({"heartbeat_seconds": 30}, "HEARTBEAT_SECONDS"),
        ({"run_retention_hours": 0.5}, "RUN_RETENTION_HOURS"),
        ({"pipeline_pool_size": 12}, "2 pipelines of PIPELINE_POOL_SIZE are never used"),
        ({"max_runs_per_tenant": 11}, "MAX_RUNS_PER_TENANT"),
        ({"max_queued_requests": 301}, "the last of MAX_QUEUED_REQUESTS waits longer"),
    ],
)
def test_what_may_not_be_meant_is_said_with_what_to_do(settings: dict[str, Any], words: str) -> None:
    (found,) = advice(Settings(**settings))
    assert found.level == "warning"
    assert words in found.found
    assert found.mend


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0", "server_api_keys": "team:team-key-1"},
        {"base_url": "https://models.example/v1", "default_model_name": "m", "api_key": "key-key"},
        {"base_url": "http://10.0.0.7/v1", "default_model_name": "m", "api_key": "key-key"},
        {"base_url": "http://vllm:8000/v1", "default_model_name": "m", "api_key": "key-key"},
        {"base_url": "http://models.example/v1", "default_model_name": "m"},
        {"max_queued_requests": 300},
    ],
)
def test_what_is_in_order_is_not_advised_upon(settings: dict[str, Any]) -> None:
    assert advice(Settings(**settings)) == []


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "changes", "level", "words"),
    [
        (None, {}, "ok", "reached, key accepted, model known"),
        (None, {"api_key": ()}, "ok", "reached, no key wanted, model known"),
        (Fault(kind="status", status=401), {}, "problem", "it refuses the key"),
        (Fault(kind="status", status=401), {"api_key": ()}, "problem", "it wants a key"),
        (Fault(kind="status", status=403), {"api_key": "first-key,second-key"}, "problem", "it refuses key 1, 2 of 2"),
        (Fault(kind="status", status=503), {}, "problem", "it fails (503)"),
        (Fault(kind="status", status=404), {}, "warning", "it lists no models (404)"),
        (Fault(kind="status", status=301), {}, "problem", "it sends elsewhere (301)"),
        (Fault(kind="rate-limited"), {}, "warning", "it limits our rate (429)"),
        (Fault(kind="html"), {}, "problem", "not an OpenAI-compatible endpoint"),
        (Fault(kind="reset"), {}, "problem", "it breaks off"),
        (Fault(kind="endless"), {}, "problem", "not an OpenAI-compatible endpoint"),
        (None, {"default_model_name": "another"}, "warning", "it knows no such model, but simulated"),
        (None, {"base_url": "http://nowhere.invalid/v1"}, "problem", "its name is not known"),
        (None, {"base_url": "http://127.0.0.1:1/v1"}, "problem", "nothing listens there"),
    ],
)
async def test_an_endpoint_says_why_it_cannot_be_asked(
    upstream: SimulatedUpstream, fault: Fault | None, changes: dict[str, Any], level: str, words: str
) -> None:
    if fault is not None:
        upstream.faults.add(fault)
    settings = {"base_url": f"{upstream.base_url}/v1", "default_model_name": "simulated", "api_key": "model-key"}
    (found,) = await examine_model(subject(**(settings | changes)))
    assert (found.check, found.level) == ("model", level)
    assert words in found.found
    assert bool(found.mend) is (level != "ok")
    assert "model-key" not in f"{found}"


async def test_one_refused_key_of_several_is_a_warning(upstream: SimulatedUpstream) -> None:
    upstream.faults.add(Fault(kind="status", status=403, api_key="second-*"))
    settings = {"base_url": f"{upstream.base_url}/v1", "default_model_name": "simulated"}
    keys, model = await examine_model(subject(api_key="first-key,second-key", **settings))
    assert (keys.level, model.level) == ("warning", "ok")
    assert keys.found.endswith("it refuses key 2 of 2")


# -- tools ------------------------------------------------------------------------------------------------------------


async def test_search_that_is_away_or_gives_no_json_is_a_problem(upstream: SimulatedUpstream) -> None:
    settings = {"serper_base_url": "http://127.0.0.1:1", "searxng_url": upstream.base_url}
    found = [(finding.level, finding.found) for finding in await examine_search(subject(**settings))]
    assert found == [
        ("problem", "Serper at http://127.0.0.1:1: nothing listens there"),
        ("warning", f"SearXNG at {upstream.base_url} answers oddly (405)"),
    ]
    (away,) = await examine_search(subject(searxng_url="http://127.0.0.1:1"))
    assert (away.level, away.found) == ("problem", "SearXNG at http://127.0.0.1:1: nothing listens there")
    upstream.faults.add(Fault(kind="status", status=403, endpoint="searxng"))
    (forbidden,) = await examine_search(subject(searxng_url=f"{upstream.base_url}/searxng"))
    assert (forbidden.level, forbidden.mend) == ("problem", "add json to search.formats in its settings.yml")


async def test_a_reader_must_speak_tls_where_its_address_says_so(upstream: SimulatedUpstream) -> None:
    (plain,) = await examine_reader(subject(jina_base_url=upstream.base_url))
    (secure,) = await examine_reader(subject(jina_base_url=upstream.base_url.replace("http:", "https:")))
    assert (plain.level, secure.level) == ("ok", "problem")
    assert secure.found.endswith("it does not speak TLS as it should")


async def test_keys_for_sandboxes_elsewhere_are_tried_and_no_sandbox_is_made() -> None:
    async with SimulatedE2B(AccountLimits(api_keys=frozenset({"e2b-right-key"}))) as e2b:

        async def found(keys: str) -> Finding:
            settings = {"sandbox": "e2b", "e2b_api_url": e2b.url, "e2b_api_key": keys}
            (finding,) = await examine_sandbox(subject(**settings))
            return finding

        assert await found("e2b-right-key") == ok("sandbox", "at E2B: key accepted")
        mend = "correct E2B_API_KEY"
        assert await found("e2b-wrong-key") == problem("sandbox", "E2B refuses key 1 of 1", mend=mend)
        assert await found("e2b-right-key,wrong") == warning("sandbox", "E2B refuses key 2 of 2", mend=mend)
        assert {call.endpoint for call in e2b.ledger.calls} == {"list"}
    (away,) = await examine_sandbox(subject(sandbox="e2b", e2b_api_url="http://127.0.0.1:1", e2b_api_key="a-key"))
    assert (away.level, away.found) == ("problem", "E2B: nothing listens there")


# -- how it is shown --------------------------------------------------------------------------------------------------


def shown(*findings: Finding) -> str:
    console = Console(file=io.StringIO(), width=60)
    console.print(page(Diagnosis(version="1.2.3", findings=findings, seconds=1.26)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_terminal_a_name_stands_once_and_what_to_do_below_what_was_found() -> None:
    text = shown(
        ok("model", "well"),
        warning("model", "slow [bold]and red", mend="faster"),
        problem("disk", "full " * 20, mend="empty it"),
    )
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == "ok       model  well"
    assert lines[1] == "warning         slow [bold]and red"
    assert lines[2] == "                → faster"
    assert all(len(line) <= 60 for line in lines)
    assert lines[-1] == "ThinkPool 1.2.3: 1 problem and 1 warning; 1 fine, in 1.3 s"


@pytest.mark.parametrize(
    ("findings", "words", "is_healthy"),
    [
        ([ok("a", "a")], "all 1 are fine", True),
        ([warning("a", "a", mend="b")] * 2, "2 warnings; 0 fine", True),
        ([problem("a", "a", mend="b"), ok("a", "a")], "1 problem; 1 fine", False),
    ],
)
def test_it_ends_with_a_summary(findings: list[Finding], words: str, is_healthy: bool) -> None:
    diagnosis = Diagnosis(version="1", findings=tuple(findings), seconds=0)
    assert words in summary(diagnosis)
    assert diagnosis.is_healthy is is_healthy


def test_a_broken_connection_is_told_in_words_of_ours() -> None:
    assert reason_of(ExceptionGroup("all", [ConnectionRefusedError("10.0.0.7")])) == "nothing listens there"
    assert reason_of(ConnectionResetError("10.0.0.7")) == "it breaks off (ConnectionResetError)"


def test_secrets_and_control_characters_are_cut_out_of_whatever_is_shown() -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://me:pass%20word@db/runs"),
        serper_api_key="serper-key",
        server_api_keys="team:team-key-1",
    )
    text = "pass word, postgresql://me:pass%20word@db/runs, serper-key, team-key-1,\n\x1b[31m team"
    shown = fit_to_show(warning("a", text, mend=text), settings)
    assert shown == warning("a", "***, ***, ***, ***, [31m team", mend="***, ***, ***, ***, [31m team")
