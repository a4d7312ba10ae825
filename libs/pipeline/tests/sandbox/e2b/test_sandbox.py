"""What a sandbox at E2B does with programs, commands and files, through the SDK as it is."""

import asyncio
import base64
from textwrap import dedent

import pytest
from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.testing.e2b import Fault
from thinkpool_pipeline.values import RunId

RUN = RunId("Run_1-a")
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()


@pytest.fixture
async def sandbox(sandboxes):
    return await sandboxes.of(RUN, is_resumed=False)


async def test_names_stay_for_the_next_call(sandbox):
    first = await sandbox.run_python("import sys\nx = 6\nprint('hi')\nprint('no', file=sys.stderr)", timeout_seconds=10)
    second = await sandbox.run_python("x * 7", timeout_seconds=10)

    assert (first.stdout, first.stderr, first.error) == ("hi\n", "no\n", "")
    assert (second.stdout, second.error) == ("42\n", "")


async def test_a_failing_program_is_a_result_with_its_traceback_and_without_colours(sandbox):
    result = await sandbox.run_python("print('before')\n1/0", timeout_seconds=10)

    assert result.stdout == "before\n"
    assert result.error.endswith("ZeroDivisionError: division by zero")
    assert "line 2" in result.error
    assert "\x1b" not in result.error


async def test_a_command_runs_where_the_code_does_and_says_its_status(sandbox):
    await sandbox.run_python("open('a.txt', 'w').write('from code')", timeout_seconds=10)
    result = await sandbox.run_command("cat a.txt; echo oops >&2; exit 3", timeout_seconds=10)

    assert (result.stdout, result.stderr, result.error) == ("from code", "oops\n", "exit status 3")


async def test_a_command_that_ends_well_has_no_error(sandbox):
    result = await sandbox.run_command("echo é", timeout_seconds=10)

    assert (result.stdout, result.error) == ("é\n", "")


async def test_plots_and_images_come_back_as_files(sandbox):
    code = f"""
    class Image:
        def _repr_png_(self): return __import__('base64').b64decode({PIXEL!r})
    class Drawing:
        def _repr_svg_(self): return '<svg/>'
    display(Drawing())
    Image()
    """
    result = await sandbox.run_python(dedent(code), timeout_seconds=10)

    assert [(file.name, file.media_type) for file in result.files] == [
        ("plot-1.svg", "image/svg+xml"),
        ("plot-2.png", "image/png"),
    ]
    assert base64.b64decode(result.files[0].data_base64) == b"<svg/>"
    assert result.files[1].data_base64 == PIXEL
    assert result.stdout == ""


async def test_an_image_that_is_none_is_left_out(e2b, sandbox):
    code = "class Image:\n    def _repr_png_(self): return 'no image!'\nImage()"

    assert (await sandbox.run_python(code, timeout_seconds=10)).files == ()


async def test_files_that_a_program_made_or_changed_come_back_and_no_others(sandbox):
    await sandbox.write_file("given.csv", b"1,2\n")
    make = "import os\nopen('made.csv', 'w').write('3,4')\nopen('.hidden', 'w').close()\nos.mkdir('sub')"
    made = await sandbox.run_python(make, timeout_seconds=10)
    changed = await sandbox.run_command("echo 5,6 >> given.csv; echo x > sub/deep.txt", timeout_seconds=10)
    nothing = await sandbox.run_python("open('made.csv').read()", timeout_seconds=10)

    assert [(f.name, f.media_type, f.size_bytes, base64.b64decode(f.data_base64)) for f in made.files] == [
        ("made.csv", "text/csv", 3, b"3,4")
    ]
    assert [(f.name, base64.b64decode(f.data_base64)) for f in changed.files] == [
        ("given.csv", b"1,2\n5,6\n"),
        ("deep.txt", b"x\n"),
    ]
    assert nothing.files == ()


async def test_of_a_file_that_is_too_large_only_the_size_comes_back_and_of_too_many_only_some(open_sandboxes):
    async with open_sandboxes(max_file_bytes=10, max_files=2) as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        result = await sandbox.run_python(
            "for name, size in (('a.bin', 11), ('b.bin', 10), ('c.bin', 1)): open(name, 'wb').write(bytes(size))",
            timeout_seconds=10,
        )

    assert [(f.name, f.size_bytes, len(base64.b64decode(f.data_base64))) for f in result.files] == [
        ("a.bin", 11, 0),
        ("b.bin", 10, 10),
    ]


async def test_files_are_written_and_read_under_relative_and_absolute_names(sandbox):
    await sandbox.write_file("in/a.bin", b"\x00\xff")

    assert await sandbox.read_file("/home/user/in/../in/a.bin", max_bytes=2) == b"\x00\xff"


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "", ".", "/home/user", "/home/username/x", "a\x00b"]
)
async def test_a_name_that_leads_outside_is_refused_without_a_call(e2b, sandbox, name):
    calls = len(e2b.ledger.calls)
    with pytest.raises(InvalidArguments):
        await sandbox.write_file(name, b"x")
    with pytest.raises(InvalidArguments):
        await sandbox.read_file(name, max_bytes=10)

    assert len(e2b.ledger.calls) == calls


async def test_a_file_that_is_missing_too_large_or_a_directory_is_the_models_mistake(sandbox):
    await sandbox.write_file("inner-directory/a.bin", bytes(100_000))

    for name in ("missing-one", "inner-directory", "inner-directory/a.bin"):
        with pytest.raises(InvalidArguments) as raised:
            await sandbox.read_file(name, max_bytes=99_999)
        assert name not in raised.value.message


async def test_a_program_that_does_not_end_is_stopped_and_its_output_and_names_kept(e2b, sandbox):
    await sandbox.run_python("x = 1", timeout_seconds=10)
    result = await sandbox.run_python("print('begun')\nwhile True: pass", timeout_seconds=0.3)
    after = await sandbox.run_python("x", timeout_seconds=10)

    assert (result.stdout, result.error) == ("begun\n", "killed after 0.3 s")
    assert (after.stdout, after.error) == ("1\n", "")
    assert [call.is_left for call in e2b.ledger.of("execute")] == [False, True, False]


async def test_a_command_that_does_not_end_is_killed(e2b, sandbox):
    result = await sandbox.run_command("echo $$; sleep 100", timeout_seconds=0.3)
    rest = await sandbox.run_command(f"kill -0 {result.stdout.strip()}", timeout_seconds=10)

    assert result.error == "killed after 0.3 s"
    assert len(e2b.ledger.of("signal")) == 1
    assert "No such process" in rest.stderr


async def test_long_output_is_cut_in_the_middle(open_sandboxes):
    async with open_sandboxes(max_output_characters=100) as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        result = await sandbox.run_python("for n in range(1000): print(f'{n:03}')", timeout_seconds=10)

    assert result.stdout.startswith("000\n001\n")
    assert result.stdout.endswith("998\n999\n")
    assert "[3900 characters are left out here]" in result.stdout
    assert len(result.stdout) < 160


@pytest.mark.parametrize("method", ["run_python", "run_command"])
async def test_endless_output_ends_the_program(e2b, open_sandboxes, method):
    program = {"run_python": "while True: print('x' * 1000)", "run_command": "yes"}[method]
    async with open_sandboxes(max_received_bytes=100_000, max_output_characters=1_000) as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        result = await getattr(sandbox, method)(program, timeout_seconds=20)
        after = await sandbox.run_python("'still there'", timeout_seconds=10)

    assert result.error == "killed: it printed too much"
    assert len(result.stdout) < 1_100
    assert after.stdout == "'still there'\n"


async def test_using_a_sandbox_prolongs_its_life(e2b, open_sandboxes):
    async with open_sandboxes(life_seconds=60) as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        await sandbox.run_python("1", timeout_seconds=5)
        assert len(e2b.ledger.of("timeout")) == 1  # 60 s are too few for 5 s of work and what comes after
        await sandbox.run_python("1", timeout_seconds=0.5)

    assert e2b.ledger.sandboxes[0].timeout_seconds == 60
    assert len(e2b.ledger.of("timeout")) == 1


async def test_a_sandbox_with_life_enough_is_not_prolonged(e2b, sandbox):
    await sandbox.run_python("1", timeout_seconds=30)

    assert e2b.ledger.of("timeout") == []


async def test_a_sandbox_that_cannot_be_prolonged_because_it_is_gone_is_lost(e2b, open_sandboxes):
    async with open_sandboxes(life_seconds=60) as sandboxes:
        sandbox = await sandboxes.of(RUN, is_resumed=False)
        e2b.lose()
        with pytest.raises(ToolUnavailable, match="gone"):
            await sandbox.run_python("1", timeout_seconds=5)

        assert await sandboxes.of(RUN, is_resumed=False) is not sandbox


async def test_cancelling_a_call_stops_the_program_and_leaves_the_sandbox(e2b, sandbox):
    call = asyncio.ensure_future(sandbox.run_python("print('begun')\nwhile True: pass", timeout_seconds=20))
    await e2b.ledger.until(lambda ledger: ledger.of("execute"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    result = await sandbox.run_python("print('again')", timeout_seconds=10)

    assert result.stdout == "again\n"


async def test_a_kernel_that_dies_says_so_and_another_one_begins(sandbox):
    result = await sandbox.run_python("x = 1\nimport os; os._exit(1)", timeout_seconds=10)
    after = await sandbox.run_python("x", timeout_seconds=10)

    assert result.error == "ContextRestarting: Context was restarted"
    assert after.error.endswith("NameError: name 'x' is not defined")


async def test_files_that_cannot_be_listed_or_fetched_are_no_reason_to_fail(e2b, sandbox):
    e2b.faults.add(Fault(kind="status", endpoint="list-files", status=500, times=4))
    first = await sandbox.run_python("print(open('a.txt', 'w').write('x'))", timeout_seconds=10)
    e2b.faults.add(Fault(kind="status", endpoint="read", status=500))
    second = await sandbox.run_python("print(open('b.txt', 'w').write('xyz'))", timeout_seconds=10)

    assert (first.stdout, first.error, first.files) == ("1\n", "", ())
    assert (second.stdout, second.error) == ("3\n", "")
    assert [(f.name, f.size_bytes, f.data_base64) for f in second.files] == [("b.txt", 3, "")]
