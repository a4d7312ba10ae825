import asyncio
import base64
import os
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings
from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox
from thinkpool_pipeline.values import RunId

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

Run = Callable[..., Coroutine[Any, Any, CodeResult]]

NAMESPACE = "import os; print(os.stat('/proc/self/ns/pid').st_ino)"


async def test_the_last_expression_is_shown_and_names_stay(run: Run) -> None:
    assert await run("x = 20\nprint('é\u2028')\nx + 1") == CodeResult(stdout="é\u2028\n21\n")
    assert await run("_ * 2") == CodeResult(stdout="42\n")
    assert await run("x = None\nx") == CodeResult()
    assert await run("") == CodeResult()
    assert await run("import os, sys; sys.stderr.write('to stderr'); os.getcwd()") == CodeResult(
        stdout="'/work'\n", stderr="to stderr"
    )


async def test_an_error_is_a_traceback_of_the_program_alone(run: Run) -> None:
    assert (await run("def half(n):\n    return n / 0")).error == ""
    result = await run("print('before')\nhalf(1)")
    assert result.stdout == "before\n"
    lines = result.error.splitlines()
    assert lines[:4] == [
        "Traceback (most recent call last):",
        '  File "<cell 2>", line 2, in <module>',
        "    half(1)",
        '  File "<cell 1>", line 2, in half',
    ]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    wrong = await run("if True\n  pass")
    assert wrong.error.startswith('  File "<cell 3>", line 1\n    if True')
    assert "SyntaxError: expected ':'" in wrong.error
    assert "worker" not in result.error + wrong.error
    strange = await run("class Odd(Exception):\n    def __str__(self): raise SystemExit\nraise Odd")
    assert "Odd" in strange.error


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; sys.exit()", ""),
        ("import sys; sys.exit(0)", ""),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("import sys; sys.exit('no input')", "no input"),
    ],
)
async def test_a_program_that_exits_leaves_its_names(run: Run, code: str, error: str) -> None:
    assert (await run(f"kept = 1\n{code}")).error == error
    assert (await run("kept")).stdout == "1\n"


async def test_the_parts_of_a_program_work_together(run: Run) -> None:
    result = await run("""
import asyncio, concurrent.futures, json, multiprocessing, sqlite3, subprocess, sys, threading
async def twice(n):
    await asyncio.sleep(0)
    return 2 * n
print(asyncio.run(twice(2)))
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    print(list(pool.map(abs, [-1, -2])))
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(sqlite3.connect("a.db").execute("select 3").fetchone())
print(subprocess.run([sys.executable, "-c", "print('child', flush=True)"], capture_output=True, text=True).stdout)
open("own.py", "w").write("value = 4")
import own
print(own.value)
""")
    assert (result.error, result.stderr) == ("", "")
    assert result.stdout.split() == ["4", "[1,", "2]", "thread", "(3,)", "child", "4"]


async def test_a_command_runs_in_the_same_place(run: Run, sandbox: Sandbox) -> None:
    await run("open('made.txt', 'w').write('by python')")
    result = await sandbox.run_command("cat made.txt; echo oops >&2; echo more > more.txt", timeout_seconds=5)
    assert (result.stdout, result.stderr, result.error) == ("by python", "oops\n", "")
    assert [file.name for file in result.files] == ["more.txt"]
    assert (await sandbox.run_command("exit 3", timeout_seconds=5)).error == "exit status 3"
    assert (await sandbox.run_command("kill -9 $$", timeout_seconds=5)).error == "ended by signal 9"
    assert (await sandbox.run_command("python3 -c 'print(1)'", timeout_seconds=5)).stdout == "1\n"
    assert (await run("open('more.txt').read()")).stdout == "'more\\n'\n"


async def test_files_that_were_made_or_changed_come_back_once(run: Run) -> None:
    result = await run("""
import os
open("a.csv", "w").write("1,2\\n")
os.makedirs("out/deep"); open("out/deep/b.bin", "wb").write(bytes(range(256)))
open(".hidden", "w").write("x"); os.symlink("/etc/ld.so.cache", "link"); os.mkfifo("fifo")
""")
    assert [(file.name, file.media_type, file.size_bytes) for file in result.files] == [
        ("a.csv", "text/csv", 4),
        ("out_deep_b.bin", "application/octet-stream", 256),
    ]
    assert base64.b64decode(result.files[1].data_base64) == bytes(range(256))
    assert (await run("1")).files == ()
    assert [file.name for file in (await run("open('a.csv', 'a').write('3')")).files] == ["a.csv"]


async def test_files_that_come_back_are_bounded_in_number_and_size(run: Run) -> None:
    result = await run("for n in range(5): open(f'{n}.txt', 'w').write(str(n) * 10_001 if n == 1 else str(n))")
    assert [(file.name, file.size_bytes, file.data_base64 != "") for file in result.files] == [
        ("0.txt", 1, True),
        ("1.txt", 10_001, False),
        ("2.txt", 1, True),
    ]
    assert "2 more files" in result.stderr


async def test_output_is_kept_at_both_ends(run: Run) -> None:
    result = await run("print('start', 'x' * 20_000, 'end')")
    assert result.stdout.startswith("start x")
    assert result.stdout.endswith("x end\n")
    assert "\n[... 15915 bytes left out ...]\n" in result.stdout
    assert len(result.stdout) < 4200


async def test_what_is_printed_last_is_not_lost_however_much_the_pipe_holds(run: Run) -> None:
    result = await run(
        "import fcntl, os; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)\nos.write(1, b'x' * 900_000 + b'end');"
    )
    assert result.stdout.endswith("xend900003\n")
    assert "[... 895914 bytes left out ...]" in result.stdout


async def test_what_was_printed_before_the_end_of_time_is_shown(run: Run) -> None:
    result = await run("kept = 1\nprint('so far')\nimport time; time.sleep(60)", timeout_seconds=0.3)
    assert result.stdout == "so far\n"
    assert result.error.startswith("Stopped after 0.3 s; names and files are kept.\nTraceback")
    assert result.error.endswith("KeyboardInterrupt")
    assert (await run("kept")).stdout == "1\n"


async def test_a_command_that_takes_too_long_is_stopped(sandbox: Sandbox, run: Run) -> None:
    await run("kept = 1")
    result = await sandbox.run_command("echo begun; sleep 60; echo never", timeout_seconds=0.3)
    assert result == CodeResult(stdout="begun\n", error="Stopped after 0.3 s; names and files are kept.")
    assert (await run("kept")).stdout == "1\n"


async def test_a_program_that_takes_care_of_its_interrupt_is_not_interrupted_again(run: Run) -> None:
    result = await run(
        "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('tidy')", timeout_seconds=0.3
    )
    assert result == CodeResult(stdout="tidy\n", error="Stopped after 0.3 s; names and files are kept.")
    assert (await run("import time; time.sleep(0.7); 'not interrupted'")).stdout == "'not interrupted'\n"


async def test_an_interrupt_that_comes_too_late_is_forgotten(run: Run) -> None:
    late = "import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\nos.kill(os.getpid(), signal.SIGINT)"
    assert await run(late) == CodeResult()
    assert await run("'not interrupted'") == CodeResult(stdout="'not interrupted'\n")


async def test_children_that_a_call_left_take_no_room_from_the_next(run: Run) -> None:
    fork = "import os, time\nfor _ in range(12):\n    if os.fork() == 0: {child}"
    for child in ("os._exit(0)", "time.sleep(60)", "time.sleep(60)"):
        assert await run(fork.format(child=child)) == CodeResult()


async def test_programs_give_way_to_the_server(run: Run) -> None:
    assert int((await run("import os; os.nice(0)")).stdout) == min(os.nice(0) + 10, 19)


async def test_a_killed_sandbox_says_so_and_the_next_call_has_a_new_one(run: Run) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('so far')\nwhile True: pass"
    result = await run(stubborn, timeout_seconds=0.3)
    assert result == CodeResult(
        stdout="so far\n", error="Killed after 0.3 s. The names and files of earlier calls are lost."
    )
    assert await run("'stubborn' in globals()") == CodeResult(stdout="False\n")


async def test_files_are_written_and_read(sandbox: Sandbox, run: Run) -> None:
    content = bytes(range(256)) * 8000
    await sandbox.write_file("data/in.bin", content)
    assert (await run("len(open('data/in.bin', 'rb').read())")) == CodeResult(stdout="2048000\n")
    assert await sandbox.read_file("data/in.bin", max_bytes=len(content)) == content
    await sandbox.write_file("data/in.bin", b"")
    assert await sandbox.read_file("data/in.bin", max_bytes=10) == b""
    await sandbox.write_file("five", b"12345")
    with pytest.raises(InvalidArguments, match="larger"):
        await sandbox.read_file("five", max_bytes=4)


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../secret-name", "a/../../b", "nul\0", "x" * 1001])
async def test_a_name_that_leads_outside_is_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(InvalidArguments) as of_write:
        await sandbox.write_file(name, b"x")
    with pytest.raises(InvalidArguments) as of_read:
        await sandbox.read_file(name, max_bytes=10)
    assert "secret-name" not in of_write.value.message + of_read.value.message


async def test_links_and_pipes_lead_nowhere(sandbox: Sandbox, run: Run) -> None:
    await run("import os; os.symlink('/tmp', 'out'); os.symlink('/proc/self/environ', 'env'); os.mkfifo('fifo')")
    for name in ("out/file", "env"):
        with pytest.raises(InvalidArguments, match="leads out"):
            await sandbox.write_file(name, b"x")
        with pytest.raises(InvalidArguments, match="leads out"):
            await sandbox.read_file(name, max_bytes=10)
    for name in ("missing", "fifo"):
        with pytest.raises(InvalidArguments, match="no such file"):
            await sandbox.read_file(name, max_bytes=10)
    with pytest.raises(InvalidArguments, match="no such file"):
        await sandbox.write_file("fifo/below", b"x")


async def test_a_file_for_which_there_is_no_room_says_so(sandbox: Sandbox, run: Run) -> None:
    with pytest.raises(ToolUnavailable, match="no room"):
        await sandbox.write_file("large", bytes(9 * 1024**2))
    assert (await run("import os; os.listdir()")).error == ""


async def test_memory_that_processes_share_is_counted_once(run: Run) -> None:
    result = await run("""
import os, time
shared = b"x" * (100 << 20)
children = [os.fork() for _ in range(4) if os.getpid() == 2]
if 0 in children: time.sleep(0.5); os._exit(0)
for child in children: os.waitpid(child, 0)
len(shared)
""")
    assert result == CodeResult(stdout="104857600\n")


async def test_between_calls_everything_stands_still_and_children_are_gone(
    run: Run, processes_in: Callable[[int], list[int]]
) -> None:
    namespace = int((await run(NAMESPACE)).stdout)
    await run("""
import os, subprocess, threading
def busy():
    while True: pass
threading.Thread(target=busy, daemon=True).start()
child = subprocess.Popen(["sleep", "60"])
""")
    _, worker = sorted(processes_in(namespace))
    while states(worker) != ["T", "T"]:  # noqa: ASYNC110 -- a signal takes a moment to arrive
        await asyncio.sleep(0.01)
    assert (await run("child.poll() is not None, [n for n in os.listdir('/proc') if n.isdigit()]")).stdout == (
        "(True, ['1', '2'])\n"
    )


def states(pid: int) -> list[str]:
    """Of a process's threads: T is a stopped one."""
    stats = (task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat"))
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


async def test_each_run_has_its_own(sandboxes: LocalSandboxes, sandbox: Sandbox) -> None:
    other = await sandboxes.of(RunId("run-2"), is_resumed=False)
    await sandbox.run_python("secret = 1; open('/tmp/secret', 'w').write('x')", timeout_seconds=5)
    seen = await other.run_python(
        "import os; 'secret' in globals(), os.listdir('/tmp'), os.listdir()", timeout_seconds=5
    )
    assert seen.stdout == "(False, [], [])\n"
    assert await sandboxes.of(RunId("run-2"), is_resumed=False) is other
    assert repr(sandboxes) == "<LocalSandboxes [2 open, 1 free, 0 waiting]>"
    assert sandboxes.name == "local"


async def test_calls_that_ask_for_one_sandbox_at_once_get_the_same(sandboxes: LocalSandboxes) -> None:
    found = await asyncio.gather(*(sandboxes.of(RunId("run-2"), is_resumed=False) for _ in range(5)))
    assert len(set(map(id, found))) == 1
    both = await asyncio.gather(*(found[0].run_python(f"{n}", timeout_seconds=5) for n in range(5)))
    assert [result.stdout for result in both] == [f"{n}\n" for n in range(5)]
    assert repr(sandboxes) == "<LocalSandboxes [1 open, 2 free, 0 waiting]>"


async def test_a_resumed_run_is_told_once_that_its_sandbox_is_new(sandboxes: LocalSandboxes) -> None:
    resumed = await sandboxes.of(RunId("run-2"), is_resumed=True)
    assert (await resumed.run_python("1", timeout_seconds=5)).is_in_new_sandbox
    assert (await resumed.run_python("1", timeout_seconds=5)).stderr == ""


async def test_no_more_than_the_limit_and_a_free_one_goes_to_who_waits(settings: LocalSandboxSettings) -> None:
    async with asyncio.timeout(20), LocalSandboxes(replace(settings, max_sandboxes=1)) as sandboxes:
        await sandboxes.of(RunId("run-1"), is_resumed=False)
        with pytest.raises(ToolUnavailable, match="All sandboxes are taken"):
            await sandboxes.of(RunId("run-2"), is_resumed=False)
        assert repr(sandboxes) == "<LocalSandboxes [1 open, 0 free, 0 waiting]>"
    async with asyncio.timeout(20), LocalSandboxes(replace(settings, max_sandboxes=1, wait_seconds=10)) as sandboxes:
        await sandboxes.of(RunId("run-1"), is_resumed=False)
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(sandboxes.of(RunId("run-2"), is_resumed=False)) for _ in range(2)]
            await asyncio.sleep(0)
            assert repr(sandboxes) == "<LocalSandboxes [1 open, 0 free, 2 waiting]>"
            await sandboxes.release(RunId("run-1"), is_resumed=False)
            first = await waiting[0]
            assert repr(sandboxes) == "<LocalSandboxes [1 open, 0 free, 1 waiting]>"
            await sandboxes.release(RunId("run-2"), is_resumed=False)
            second = await waiting[1]
            assert first is not second
        assert (await second.run_python("1", timeout_seconds=5)).stdout == "1\n"


async def test_twenty_run_side_by_side(settings: LocalSandboxSettings) -> None:
    async with asyncio.timeout(50), LocalSandboxes(replace(settings, max_sandboxes=20)) as sandboxes:

        async def use(number: int) -> str:
            sandbox = await sandboxes.of(RunId(f"run-{number}"), is_resumed=False)
            await sandbox.run_python(f"n = {number}", timeout_seconds=40)
            return (await sandbox.run_python("sum(range(n))", timeout_seconds=40)).stdout

        sums = await asyncio.gather(*map(use, range(20)))
        assert sums == [f"{sum(range(number))}\n" for number in range(20)]
        assert repr(sandboxes) == "<LocalSandboxes [20 open, 0 free, 0 waiting]>"


async def test_released_is_gone_and_unknown_is_fine(
    sandboxes: LocalSandboxes, sandbox: Sandbox, held: Callable[[int], int], processes_in: Callable[[int], list[int]]
) -> None:
    namespace = held(int((await sandbox.run_python(NAMESPACE, timeout_seconds=5)).stdout))
    assert len(processes_in(namespace)) == 2
    await sandboxes.release(RunId("run-1"), is_resumed=False)
    assert processes_in(namespace) == []
    await sandboxes.release(RunId("run-1"), is_resumed=False)
    await sandboxes.release(RunId("never"), is_resumed=True)
    for use in (
        sandbox.run_python("1", timeout_seconds=5),
        sandbox.run_command("true", timeout_seconds=5),
        sandbox.write_file("a", b""),
        sandbox.read_file("a", max_bytes=1),
    ):
        with pytest.raises(ToolUnavailable, match="gone"):
            await use
    assert repr(sandboxes) == "<LocalSandboxes [0 open, 3 free, 0 waiting]>"

    async def unfinished() -> list[RunId]:
        raise AssertionError

    assert await sandboxes.sweep(unfinished) == 0


PNG = b"\x89PNG\r\n"


async def test_plots_and_numpy_work_where_they_are_installed(settings: LocalSandboxSettings) -> None:
    pytest.importorskip("numpy")
    pytest.importorskip("matplotlib")
    roomy = replace(settings, packages=("numpy", "matplotlib"), memory_bytes=1024**3, max_file_bytes=100_000)
    async with asyncio.timeout(50), LocalSandboxes(roomy) as sandboxes:
        sandbox = await sandboxes.of(RunId("run-1"), is_resumed=False)
        result = await sandbox.run_python(
            """
import numpy as np
import matplotlib.pyplot as plt
print(np.linalg.inv(np.eye(200) * 2)[0, 0])
plt.plot(np.arange(10)); plt.show()
plt.plot([2, 1]); plt.savefig("mine.png"); plt.show()
plt.bar([1], [2]);
""",
            timeout_seconds=40,
        )
        assert (result.error, result.stdout.splitlines()[0]) == ("", "0.5")
        assert [(file.name, file.media_type) for file in result.files] == [
            ("figure-1.png", "image/png"),
            ("mine.png", "image/png"),
            ("figure-2.png", "image/png"),
        ]
        assert all(base64.b64decode(file.data_base64).startswith(PNG) for file in result.files)
        again = await sandbox.run_python("plt.plot([1]);", timeout_seconds=40)
        assert [file.name for file in again.files] == ["figure-3.png"]


async def test_packages_that_are_not_offered_are_not_there(run: Run) -> None:
    result = await run("""
import importlib.util
[n for n in ("numpy", "pydantic", "pytest", "thinkpool_pipeline", "pip") if importlib.util.find_spec(n)]
""")
    assert result.stdout == "[]\n"
