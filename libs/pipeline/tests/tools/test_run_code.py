"""The tools that run code, over sandboxes in memory and over E2B's double."""

import asyncio
import base64
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.errors import AddressRefused, InvalidArguments, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import open_outward
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.sandbox.e2b import E2BSandboxes, E2BSettings
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings, probe
from thinkpool_pipeline.sandbox.protocols import CodeResult
from thinkpool_pipeline.testing import ManualClock, call_of
from thinkpool_pipeline.testing.conformance import check_tool, check_tool_manager
from thinkpool_pipeline.testing.e2b import Fault, SimulatedE2B
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.tools.run_code import CodeSettings, CodeToolkit
from thinkpool_pipeline.values import InputFile, RunId, StepName, ToolFile

LOST = "The sandbox is a new one: names and files of earlier calls are lost."
NATIVE = ["run_python", "run_command"]
TRAINED = ["create_sandbox", "upload_file_from_local_to_sandbox", "download_file_from_sandbox_to_local"]
FROM_INTERNET = "download_file_from_internet_to_sandbox"
FILE = InputFile(name="a.csv", media_type="text/csv", data_base64=base64.b64encode(b"1,2").decode())
ODD_FILE = InputFile(name="..", media_type="text/plain", data_base64="")


@dataclass
class MemorySandbox:
    """A sandbox whose programs do as a script says."""

    clock: ManualClock
    result: CodeResult | BaseException = field(default_factory=CodeResult)
    ran: list[tuple[str, float]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    async def run_python(self, code: str, *, timeout_seconds: float) -> CodeResult:
        self.ran.append((code, timeout_seconds))
        self.clock.advance(0.25)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    run_command = run_python

    async def write_file(self, name: str, content: bytes) -> None:
        if ".." in name:
            raise InvalidArguments
        self.files[name] = content

    async def read_file(self, name: str, *, max_bytes: int) -> bytes:
        if name not in self.files or len(self.files[name]) > max_bytes:
            raise InvalidArguments
        return self.files[name]


class MemorySandboxes:
    """Gives out the same sandbox until it is told that it is lost."""

    name = "memory"

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sandbox = MemorySandbox(self.clock)
        self.error: Exception | None = None
        self.asked: list[tuple[RunId, bool]] = []
        self.released: list[tuple[RunId, bool]] = []

    def lose(self) -> MemorySandbox:
        self.sandbox = MemorySandbox(self.clock)
        return self.sandbox

    async def of(self, run_id: RunId, *, is_resumed: bool) -> MemorySandbox:
        self.asked.append((run_id, is_resumed))
        if self.error is not None:
            raise self.error
        return self.sandbox

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        self.released.append((run_id, is_resumed))

    async def sweep(self, unfinished) -> int:
        return 0


@pytest.fixture
def sandboxes() -> MemorySandboxes:
    return MemorySandboxes()


@pytest.fixture
def toolkit(sandboxes: MemorySandboxes) -> CodeToolkit:
    return CodeToolkit(sandboxes, clock=sandboxes.clock)


def context_of(
    *,
    files: Collection[InputFile] = (),
    is_resumed: bool = False,
    said: list[str] | None = None,
    used_tools: Collection[str] = (),
):
    return CallContext(
        run_id=RunId("run-1"),
        step=StepName("turn/2/call/1"),
        report_progress=(said if said is not None else []).append,
        files=tuple(files),
        is_resumed=is_resumed,
        used_tools=frozenset(used_tools),
    )


async def call(toolkit: CodeToolkit, name: str, context: CallContext | None = None, **arguments: object):
    """As a pipeline calls it: through its manager, which fills defaults in."""
    return await LocalToolManager([], [toolkit]).call(call_of("c1", name, **arguments), context or context_of())


def test_what_is_offered_shares_state_and_leaves_the_house_only_if_the_sandboxes_are_elsewhere(sandboxes):
    here = [tool.spec for tool in CodeToolkit(sandboxes).tools()]
    there = [tool.spec for tool in CodeToolkit(sandboxes, CodeSettings(is_outward=True)).tools()]

    assert [spec.name for spec in here] == NATIVE + TRAINED
    assert [spec.name for spec in here if spec.is_xml_only] == TRAINED
    assert not any(spec.is_parallel_safe or spec.is_outward for spec in here)
    assert all(spec.is_outward for spec in there)


def test_the_web_is_offered_only_where_somebody_fetches_and_is_always_outward(sandboxes):
    async def fetch(url: str, context: CallContext) -> bytes:
        return b""

    [spec] = [tool.spec for tool in CodeToolkit(sandboxes, fetch=fetch).tools() if tool.spec.name == FROM_INTERNET]
    assert spec.is_outward
    assert spec.is_xml_only


@pytest.mark.parametrize(("has_internet", "words"), [(False, "has no internet"), (True, "reaches the internet")])
def test_the_model_is_told_what_a_program_may(sandboxes, has_internet, words):
    settings = CodeSettings(has_internet=has_internet, timeout_seconds=12.5)
    for tool in CodeToolkit(sandboxes, settings).tools()[:2]:
        assert words in tool.spec.description
        assert "12.5 s" in tool.spec.description


async def test_output_is_a_passage_that_can_be_cited_and_a_line_for_people(sandboxes, toolkit):
    plot = ToolFile(name="plot-1.png", media_type="image/png", size_bytes=3, data_base64="AAAA")
    sandboxes.sandbox.result = CodeResult(stdout="1\n2\n", stderr="careful\n", files=(plot,))
    output = await call(toolkit, "run_python", code="print(1)")

    [passage] = output.passages
    assert passage.text == output.shown == "1\n2\n[stderr]\ncareful"
    assert (passage.document, passage.title) == ("python:turn/2/call/1", "Output of the program")
    assert passage.is_own_work
    assert passage.url is None
    assert output.files == (plot,)
    assert output.summary == "ran in 0.2 s, 3 lines, 1 file"
    assert output.text == "The program ended well. Files it made: plot-1.png (image/png, 3 bytes)."
    assert sandboxes.sandbox.ran == [("print(1)", 60.0)]


async def test_a_command_runs_in_the_same_sandbox(sandboxes, toolkit):
    await call(toolkit, "run_python", code="x")
    await call(toolkit, "run_command", command="ls")

    assert [code for code, _ in sandboxes.sandbox.ran] == ["x", "ls"]


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (
            "Traceback (most recent call last):\n  File\nZeroDivisionError: division by zero",
            "failed: ZeroDivisionError",
        ),
        ("KeyboardInterrupt", "failed: KeyboardInterrupt"),
        ("pandas.errors.ParserError: bad: line", "failed: pandas.errors.ParserError"),
        ("exit status 3", "failed: exit status 3"),
        ("killed after 30 s\n", "failed: killed after 30 s"),
        ("x" * 500, "failed: " + "x" * 80),
        ("! " * 500, "failed: " + "! " * 40),
    ],
)
async def test_a_program_that_fails_is_an_output_that_says_so(sandboxes, toolkit, error, summary):
    sandboxes.sandbox.result = CodeResult(stdout="before\n", error=error)
    output = await call(toolkit, "run_python", code="1/0")

    assert output.text == "The program failed."
    assert output.passages[0].text == f"before\n[error]\n{error.rstrip()}"
    assert output.summary == summary


async def test_a_program_that_prints_nothing_gives_no_passage(toolkit):
    output = await call(toolkit, "run_python", code="x = 1")

    assert (output.passages, output.shown, output.is_empty) == ((), "", False)
    assert output.text == "The program ended well and printed nothing."
    assert output.summary == "ran in 0.2 s, 0 lines"


async def test_long_output_is_cut_in_the_middle(sandboxes):
    sandboxes.sandbox.result = CodeResult(stdout="a" * 60 + "b" * 60, error="E: end")
    toolkit = CodeToolkit(sandboxes, CodeSettings(max_output_characters=41), clock=sandboxes.clock)
    text = (await call(toolkit, "run_python", code="x")).passages[0].text

    assert text == "a" * 20 + "\n[95 characters are left out here]\n" + "b" * 5 + "\n[error]\nE: end"


async def test_the_questions_files_are_in_the_sandbox_from_the_first_call_on(sandboxes, toolkit):
    said: list[str] = []
    context = context_of(files=[FILE, ODD_FILE], said=said)
    first = await call(toolkit, "run_python", context, code="x")
    second = await call(toolkit, "run_python", context, code="x")

    assert sandboxes.sandbox.files["a.csv"] == b"1,2"
    assert first.text.startswith("In its directory are the question's files: a.csv. The program ended")
    assert second.text == "The program ended well and printed nothing."
    assert said == ["Opening a sandbox for code"]


async def test_a_sandbox_that_is_lost_under_a_program_is_replaced_and_the_model_is_told(sandboxes, toolkit):
    context = context_of(files=[FILE])
    await call(toolkit, "run_python", context, code="x = 1")
    lost = sandboxes.sandbox
    lost.result = ToolUnavailable("gone")
    new = MemorySandbox(sandboxes.clock)

    async def of(run_id: RunId, *, is_resumed: bool) -> MemorySandbox:
        return new if len(lost.ran) > 1 else lost

    sandboxes.of = of
    output = await call(toolkit, "run_python", context, code="x")
    after = await call(toolkit, "run_python", context, code="x")

    assert "lost" in output.text
    assert "without the names and files of earlier calls" in output.text
    assert output.summary == "failed: the sandbox was lost"
    assert len(lost.ran) == 2
    assert [code for code, _ in new.ran] == ["x"]  # by the model's own wish only
    assert new.files["a.csv"] == b"1,2"
    assert after.text == "The program ended well and printed nothing."


async def test_a_new_sandbox_gets_the_questions_files_again(sandboxes, toolkit):
    context = context_of(files=[FILE])
    await call(toolkit, "run_python", context, code="x = 1")
    new = sandboxes.lose()
    output = await call(toolkit, "run_python", context, code="x")

    assert output.text.startswith("In its directory are the question's files: a.csv.")
    assert new.files["a.csv"] == b"1,2"


@pytest.mark.parametrize("is_lost", [True, False])
async def test_after_a_failure_it_is_looked_whether_the_files_are_still_there(sandboxes, toolkit, is_lost):
    context = context_of(files=[FILE])
    sandboxes.sandbox.result = CodeResult(error="MemoryError")
    await call(toolkit, "run_python", context, code="x = 1")
    sandboxes.sandbox.result = CodeResult()
    if is_lost:
        sandboxes.sandbox.files.clear()  # as one does that starts anew by itself
    else:
        sandboxes.sandbox.files["a.csv"] = b"changed"
    output = await call(toolkit, "run_python", context, code="x = 1")

    assert output.text.startswith("In its directory are the question's files: a.csv.") is is_lost
    assert sandboxes.sandbox.files["a.csv"] == (b"1,2" if is_lost else b"changed")


async def test_after_a_call_that_was_cancelled_it_is_looked_too(sandboxes, toolkit):
    context = context_of(files=[FILE])
    sandboxes.sandbox.result = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await call(toolkit, "run_python", context, code="x = 1")
    sandboxes.sandbox.files.clear()
    sandboxes.sandbox.result = CodeResult()
    await call(toolkit, "run_python", context, code="x = 1")

    assert sandboxes.sandbox.files["a.csv"] == b"1,2"


async def test_a_sandbox_that_cannot_be_reached_is_an_error_and_stays(sandboxes, toolkit):
    sandboxes.sandbox.result = ToolUnavailable("The code sandbox failed.")
    with pytest.raises(ToolUnavailable, match="The code sandbox failed"):
        await call(toolkit, "run_python", code="x")

    assert len(sandboxes.sandbox.ran) == 1


@pytest.mark.parametrize("error", [ToolUnavailable("no room"), ToolTimeout("too late")])
@pytest.mark.parametrize("name", NATIVE)
async def test_without_a_sandbox_there_is_an_error(sandboxes, toolkit, error, name):
    sandboxes.error = error
    with pytest.raises(type(error), match=str(error)):
        await call(toolkit, name, **{"run_python": {"code": "x"}, "run_command": {"command": "x"}}[name])


async def test_a_resumed_run_whose_sandbox_is_kept_goes_on_with_it(sandboxes, toolkit):
    await call(toolkit, "run_python", context_of(files=[FILE]), code="x = 1")
    sandboxes.sandbox.files["a.csv"] = b"changed by a program"
    again = CodeToolkit(sandboxes, clock=sandboxes.clock)
    output = await call(again, "run_python", context_of(files=[FILE], is_resumed=True), code="x")

    assert output.text == "The program ended well and printed nothing."
    assert sandboxes.sandbox.files["a.csv"] == b"changed by a program"
    assert sandboxes.asked[-1] == ("run-1", True)


async def test_a_resumed_run_whose_sandbox_is_not_kept_finds_the_questions_files(sandboxes, toolkit):
    output = await call(toolkit, "run_python", context_of(files=[FILE], is_resumed=True), code="x")

    assert output.text.startswith("In its directory are the question's files: a.csv.")
    assert sandboxes.sandbox.files["a.csv"] == b"1,2"


async def test_a_sandbox_has_an_id_for_models_that_want_one(sandboxes, toolkit):
    first = await call(toolkit, "create_sandbox", timeout=600)
    second = await call(toolkit, "create_sandbox")

    assert first.text.startswith("Sandbox created with sandbox_id: sandbox-")
    assert first.text == second.text
    assert "run-1" not in first.text
    assert len(sandboxes.asked) == 2


@pytest.mark.parametrize(
    ("arguments", "path", "written"),
    [
        ({"local_file_path": "a.csv"}, "/home/user/a.csv", "a.csv"),
        ({"local_file_path": "/data/in\\a.csv", "sandbox_id": "made up"}, "/home/user/a.csv", "a.csv"),
        ({"local_file_path": "a.csv", "sandbox_file_path": "/home/user/in/"}, "/home/user/in/a.csv", "in/a.csv"),
        ({"local_file_path": "a.csv", "sandbox_file_path": "b.csv"}, "b.csv", "b.csv"),
    ],
)
async def test_a_file_of_the_question_goes_where_the_model_wants_it(sandboxes, toolkit, arguments, path, written):
    context = context_of(files=[FILE])
    output = await call(toolkit, "upload_file_from_local_to_sandbox", context, **arguments)

    assert output.text == f"File uploaded to {path}"
    assert sandboxes.sandbox.files[written] == b"1,2"


@pytest.mark.parametrize(("files", "words"), [([FILE], "the files are: a.csv"), ([], "the files are: none")])
async def test_no_other_file_can_be_uploaded(toolkit, files, words):
    with pytest.raises(InvalidArguments, match=words):
        await call(toolkit, "upload_file_from_local_to_sandbox", context_of(files=files), local_file_path="/etc/passwd")


@pytest.mark.parametrize(
    ("path", "name"), [("/home/user/out.png", "out.png"), ("out.png", "out.png"), ("out.png", "../b.png")]
)
async def test_a_file_of_the_sandbox_comes_back(sandboxes, toolkit, path, name):
    sandboxes.sandbox.files["out.png"] = b"png"
    output = await call(
        toolkit, "download_file_from_sandbox_to_local", sandbox_file_path=path, local_filename=name, sandbox_id="x"
    )

    [file] = output.files
    assert (file.name, file.media_type, file.size_bytes) == (name.removeprefix("../"), "image/png", 3)
    assert base64.b64decode(file.data_base64) == b"png"
    assert output.text == f"File downloaded to {file.name} (3 bytes)"


async def test_a_file_that_is_not_there_or_too_large_does_not_come_back(sandboxes):
    toolkit = CodeToolkit(sandboxes, CodeSettings(max_file_bytes=2))
    sandboxes.sandbox.files["large"] = b"123"
    for name in ("missing", "large"):
        with pytest.raises(InvalidArguments):
            await call(toolkit, "download_file_from_sandbox_to_local", sandbox_file_path=name)


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://example.org/data/t%20able.csv?x=1", "t able.csv"),
        ("https://example.org/", "downloaded_file"),
    ],
)
async def test_a_file_of_the_web_is_fetched_for_the_sandbox(sandboxes, url, written):
    fetched = []

    async def fetch(address: str, context: CallContext) -> bytes:
        fetched.append((address, context.run_id))
        return b"bytes"

    output = await call(CodeToolkit(sandboxes, fetch=fetch), FROM_INTERNET, url=url, sandbox_id="x")

    assert fetched == [(url, "run-1")]
    assert sandboxes.sandbox.files[written] == b"bytes"
    assert output.text == f"File downloaded to /home/user/{written} (5 bytes)"


async def test_an_address_that_may_not_be_read_opens_no_sandbox(sandboxes):
    async def fetch(address: str, context: CallContext) -> bytes:
        raise AddressRefused

    with pytest.raises(AddressRefused):
        await call(CodeToolkit(sandboxes, fetch=fetch), FROM_INTERNET, url="http://169.254.169.254/")
    assert sandboxes.asked == []


async def test_a_release_ends_the_sandbox_and_what_is_known_of_it(sandboxes, toolkit):
    await call(toolkit, "run_python", context_of(files=[FILE]), code="x")
    await toolkit.release(RunId("run-1"), is_resumed=True)
    again = await call(toolkit, "run_python", context_of(files=[FILE]), code="x")
    await toolkit.aclose()

    assert sandboxes.released == [("run-1", True)]
    assert again.text.startswith("In its directory are the question's files")
    assert repr(toolkit) == "<CodeToolkit memory [1 runs]>"


async def test_the_tools_keep_to_their_protocols(sandboxes, toolkit):
    await check_tool(toolkit.tools()[0], {"code": "1"})
    await check_tool_manager(LocalToolManager([], [toolkit]), call_of("c1", "run_python", code="1"))


async def test_through_e2b_state_is_kept_a_lost_sandbox_is_told_of_and_everything_ends():
    async with asyncio.timeout(30), SimulatedE2B() as e2b, open_outward() as outward:
        settings = E2BSettings(api_keys=("k",), api_url=e2b.url, sandbox_url=e2b.url, creations_per_second=100)
        async with E2BSandboxes(outward.upstream("sandbox"), settings) as sandboxes:
            toolkit = CodeToolkit(sandboxes, CodeSettings(is_outward=True))
            context = context_of(files=[FILE])
            first = await call(toolkit, "run_python", context, code="rows = open('a.csv').read()")
            second = await call(toolkit, "run_python", context, code="print(rows)")
            e2b.faults.add(Fault(kind="lost", endpoint="execute", times=1))
            lost = await call(toolkit, "run_python", context, code="print(rows)")
            later = context_of(files=[FILE], used_tools=["run_python"])
            after = await call(toolkit, "run_command", later, command="cat a.csv")
            await toolkit.release(context.run_id, is_resumed=False)
            await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert first.summary.endswith("0 lines")
    assert second.passages[0].text == "1,2"
    assert lost.summary == "failed: the sandbox was lost"
    assert after.passages[0].text == "1,2"
    assert after.text == f"{LOST} The program ended well."
    assert [record.end for record in e2b.ledger.sandboxes] == ["lost", "killed"]


@pytest.mark.parametrize(
    ("used_tools", "told"),
    [([], ""), (["web_search"], ""), (["web_search", "run_command"], f"{LOST} ")],
    ids=["first call", "first code", "later"],
)
async def test_a_resumed_run_is_told_of_a_new_sandbox_if_it_had_one_and_in_no_text_that_can_be_cited(used_tools, told):
    limits = LocalSandboxSettings(max_sandboxes=1)
    found = await probe(limits)
    if not found.is_available:
        pytest.skip(f"no sandbox here: {found.reason}")
    async with asyncio.timeout(30), LocalSandboxes(limits) as sandboxes:
        toolkit = CodeToolkit(sandboxes)
        context = context_of(is_resumed=True, used_tools=used_tools)
        resumed = await call(toolkit, "run_python", context, code="print(42)")
        again = await call(toolkit, "run_python", context, code="print(43)")
        await toolkit.release(context.run_id, is_resumed=True)

    assert resumed.text == f"{told}The program ended well."
    assert [passage.text for passage in resumed.passages] == ["42"]
    assert again.text == "The program ended well."


async def test_through_bubblewrap_the_questions_files_survive_a_sandbox_that_does_not():
    limits = LocalSandboxSettings(max_sandboxes=1)
    found = await probe(limits)
    if not found.is_available:
        pytest.skip(f"no sandbox here: {found.reason}")
    async with asyncio.timeout(30), LocalSandboxes(limits) as sandboxes:
        toolkit = CodeToolkit(sandboxes)
        context = context_of(files=[FILE])
        first = await call(toolkit, "run_python", context, code="x = open('a.csv').read(); print(x)")
        died = await call(
            toolkit, "run_python", context, code="import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        )
        after = await call(toolkit, "run_command", context, command="cat a.csv")
        await toolkit.release(context.run_id, is_resumed=False)

    assert first.passages[0].text == "1,2"
    assert (first.files, after.files) == ((), ())
    assert died.summary.startswith("failed: ")
    assert after.passages[0].text.startswith("1,2")
    assert after.text.startswith("In its directory are the question's files: a.csv.")
