"""Whatever E2B, or what stands before it, answers: an error of ours in bounded time, with nothing of theirs in it."""

import pytest
from thinkpool_pipeline.errors import ToolTimeout, ToolUnavailable
from thinkpool_pipeline.sandbox.e2b.capped import CappedSandbox
from thinkpool_pipeline.sandbox.e2b.output import TooMuchOutput
from thinkpool_pipeline.testing.e2b import Fault
from thinkpool_pipeline.values import RunId

KEY = "e2b_0123"
RUN = RunId("run-1")
OPENING = [
    ("status", {"status": 401}, ToolUnavailable, "refused the request (401)"),
    ("status", {"status": 403}, ToolUnavailable, "refused the request (403)"),
    ("status", {"status": 400}, ToolUnavailable, "refused the request (400)"),
    ("status", {"status": 429, "retry_after_seconds": 1}, ToolUnavailable, "limits its rate (429)"),
    ("status", {"status": 409}, ToolUnavailable, "unavailable (status 409)"),
    ("status", {"status": 500}, ToolUnavailable, "unavailable (status 500)"),
    ("status", {"status": 503}, ToolUnavailable, "unavailable (status 503)"),
    ("html", {"status": 502}, ToolUnavailable, "unavailable (status 502)"),
    ("html", {"status": 503}, ToolUnavailable, "makes no sense"),  # the SDK reads a 503 as JSON
    ("reset", {}, ToolUnavailable, "unavailable (WriteError)"),
    ("unheard", {}, ToolUnavailable, "unavailable (WriteError)"),
    ("garbage", {}, ToolUnavailable, "makes no sense"),
    ("odd", {}, ToolUnavailable, "makes no sense"),
    ("stall", {}, ToolTimeout, "said nothing for 0.1 s"),
]
USE = [
    ("status", {"status": 401}, "refused the request (401)"),
    ("status", {"status": 429}, "limits its rate (429)"),
    ("status", {"status": 504}, "broke"),
    ("html", {"status": 502}, "broke"),
    ("reset", {}, "broke"),
    ("truncated", {"after_lines": 1}, "broke"),
    ("truncated", {"after_lines": 0}, "broke"),
    ("unheard", {}, "broke"),
    ("garbage", {}, "broke"),
    ("odd", {}, "broke"),
    ("lost", {}, "gone, and with it the names and files"),
]


@pytest.mark.parametrize(("kind", "details", "error", "words"), OPENING)
async def test_a_sandbox_that_cannot_be_had(e2b, open_sandboxes, kind, details, error, words):
    e2b.faults.add(Fault(kind=kind, endpoint="create", **details))
    async with open_sandboxes(try_seconds=0.1) as sandboxes:
        with pytest.raises(error) as raised:
            await sandboxes.of(RUN, is_resumed=False)

    assert words in raised.value.message
    assert_says_nothing_of_theirs(raised.value)


@pytest.mark.parametrize("kind", ["status", "html", "reset", "garbage", "odd"])
async def test_a_service_that_recovers_is_asked_again(e2b, sandboxes, kind):
    e2b.faults.add(Fault(kind=kind, endpoint="create", times=2))
    await sandboxes.of(RUN, is_resumed=False)

    assert len(e2b.ledger.of("create")) == 3


async def test_a_rate_limit_is_waited_out(e2b, sandboxes, waits):
    e2b.faults.add(Fault(kind="status", status=429, endpoint="create", times=2, retry_after_seconds=1))
    await sandboxes.of(RUN, is_resumed=False)

    assert waits.slept == [2.0, 2.0]


async def test_a_refusal_is_not_asked_again(e2b, sandboxes):
    e2b.faults.add(Fault(kind="status", status=401, endpoint="create"))
    with pytest.raises(ToolUnavailable):
        await sandboxes.of(RUN, is_resumed=False)

    assert len(e2b.ledger.of("create")) == 1


@pytest.mark.parametrize("method", ["run_python", "run_command"])
@pytest.mark.parametrize(("kind", "details", "words"), USE)
async def test_a_program_whose_sandbox_fails(e2b, open_sandboxes, method, kind, details, words):
    endpoint, program = {"run_python": ("execute", "print(1)\nprint(2)"), "run_command": ("start", "echo 1")}[method]
    async with open_sandboxes() as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        e2b.faults.add(Fault(kind=kind, endpoint=endpoint, **details))
        with pytest.raises(ToolUnavailable) as raised:
            await getattr(sandbox, method)(program, timeout_seconds=10)

    assert words in raised.value.message
    assert_says_nothing_of_theirs(raised.value)
    if words == "broke":
        assert len(e2b.ledger.of(endpoint)) == 1  # it may have run: it is not run again


@pytest.mark.parametrize("method", ["run_python", "run_command"])
async def test_a_sandbox_that_ends_while_a_program_runs_is_gone(e2b, sandboxes, method):
    endpoint, program = {"run_python": ("execute", "print(1)\nprint(2)"), "run_command": ("start", "echo 1")}[method]
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="truncated", endpoint=endpoint), Fault(kind="lost", endpoint="health"))
    with pytest.raises(ToolUnavailable, match="gone"):
        await getattr(sandbox, method)(program, timeout_seconds=10)

    assert await sandboxes.of(RUN, is_resumed=False) is not sandbox


@pytest.mark.parametrize("status", [429, 503])
async def test_a_program_that_was_refused_is_started_again(e2b, sandboxes, status):
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="status", status=status, endpoint="execute", times=2))

    assert (await sandbox.run_python("print(1)", timeout_seconds=10)).stdout == "1\n"


@pytest.mark.parametrize(("method", "endpoint"), [("run_python", "execute"), ("run_command", "start")])
async def test_a_program_that_nobody_starts_is_given_up_in_its_time(e2b, sandboxes, method, endpoint):
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="stall", endpoint=endpoint, times=1))

    assert (await getattr(sandbox, method)("1", timeout_seconds=0.2)).error == "killed after 0.2 s"


async def test_a_stream_without_an_end_is_a_broken_one(e2b, sandboxes):
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="truncated", endpoint="start", after_lines=1))
    with pytest.raises(ToolUnavailable, match="broke"):
        await sandbox.run_command("true", timeout_seconds=10)


async def test_a_file_that_cannot_be_written_for_want_of_room(e2b, sandboxes):
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="status", status=507, endpoint="write"))
    with pytest.raises(ToolUnavailable, match="507"):
        await sandbox.write_file("a", b"x")


@pytest.mark.parametrize(("status", "words"), [(400, "400"), (404, "gone"), (418, "418")])
async def test_refusals_that_are_about_the_call(e2b, sandboxes, status, words):
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="status", status=status, endpoint="execute"))
    with pytest.raises(ToolUnavailable, match=words):
        await sandbox.run_python("1", timeout_seconds=10)


async def test_the_environment_cannot_switch_killing_off(e2b, open_sandboxes, monkeypatch):
    monkeypatch.setenv("E2B_DEBUG", "true")
    async with open_sandboxes() as sandboxes:
        await sandboxes.of(RUN, is_resumed=False)

    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_the_sdk_is_cut_off_before_it_holds_more_than_it_may(e2b):
    sandbox = await CappedSandbox.create(api_key=KEY, api_url=e2b.url, sandbox_url=e2b.url, retries=0)
    sandbox.max_received_bytes = 1_000
    with pytest.raises(TooMuchOutput):
        await sandbox.run_code("print('x' * 2_000)")


async def test_keys_are_in_no_words(e2b, open_sandboxes):
    async with open_sandboxes() as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        for thing in (sandboxes, sandbox, sandboxes._settings, sandboxes._account, sandboxes._runs):
            assert KEY not in repr(thing)


def assert_says_nothing_of_theirs(error: BaseException | None) -> None:
    while error is not None:
        assert KEY not in str(error)
        assert "Something failed" not in str(error)
        assert "127.0.0.1" not in str(error)
        error = error.__cause__
