"""However a sandbox ends, nothing of it is left: no process, no descriptor, no slot that is taken."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings
from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox
from thinkpool_pipeline.values import RunId

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

RUN = RunId("run-1")
NAMESPACE = "import os, time; print(os.stat('/proc/self/ns/pid').st_ino)"

ProcessesIn = Callable[[int], list[int]]
NamespaceOf = Callable[[Sandbox], Awaitable[int]]


@pytest.fixture
def namespace_of(held: Callable[[int], int]) -> NamespaceOf:
    async def namespace_of(sandbox: Sandbox) -> int:
        return held(int((await sandbox.run_python(NAMESPACE, timeout_seconds=20)).stdout))

    return namespace_of


async def emptied(namespace: int, processes_in: ProcessesIn) -> None:
    async with asyncio.timeout(20):
        while processes_in(namespace):  # noqa: ASYNC110 -- processes that are none of ours any more
            await asyncio.sleep(0.01)


async def begun(sandbox: Sandbox, group: asyncio.TaskGroup) -> "asyncio.Task[str]":
    """A call that is in the midst of its program; it gives the message of its error."""

    async def call() -> str:
        try:
            await sandbox.run_python("open('begun', 'w').close(); time.sleep(60)", timeout_seconds=30)
        except ToolUnavailable as error:
            return error.message
        return ""

    task = group.create_task(call())
    worker = sandbox._session._enclosure._worker_pid
    while not os.path.exists(f"/proc/{worker}/root/work/begun"):  # noqa: ASYNC110, ASYNC240 -- another process's doing
        await asyncio.sleep(0.01)
    return task


async def test_a_cancelled_call_ends_the_sandbox_and_the_next_one_has_a_new_one(
    sandbox: Sandbox, namespace_of: NamespaceOf, processes_in: ProcessesIn
) -> None:
    namespace = await namespace_of(sandbox)
    async with asyncio.TaskGroup() as group:
        task = await begun(sandbox, group)
        task.cancel()
    assert task.cancelled()
    await emptied(namespace, processes_in)
    result = await sandbox.run_python("'time' in globals()", timeout_seconds=20)
    assert (result.stdout, result.error) == ("False\n", "")
    assert (result.stderr, result.is_in_new_sandbox) == ("", True)
    assert not (await sandbox.run_python("1", timeout_seconds=20)).is_in_new_sandbox


async def test_release_ends_a_call_that_runs(
    sandboxes: LocalSandboxes, sandbox: Sandbox, namespace_of: NamespaceOf, processes_in: ProcessesIn
) -> None:
    namespace = await namespace_of(sandbox)
    async with asyncio.TaskGroup() as group:
        task = await begun(sandbox, group)
        await sandboxes.release(RUN, is_resumed=False)
        assert processes_in(namespace) == []
    assert task.result() == "The sandbox is gone."


async def test_release_goes_on_when_its_caller_is_cancelled_again_and_again(
    sandboxes: LocalSandboxes, namespace_of: NamespaceOf, processes_in: ProcessesIn
) -> None:
    await use_up(sandboxes)  # what the loop opens once, it keeps
    before = len(os.listdir("/proc/self/fd"))
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    namespace = await namespace_of(sandbox)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sandboxes.release(RUN, is_resumed=False))
        await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
    assert task.cancelled()
    while repr(sandboxes) != "<LocalSandboxes [0 open, 3 free, 0 waiting]>":  # noqa: ASYNC110 -- a task of theirs
        await asyncio.sleep(0)
    assert processes_in(namespace) == []
    assert len(os.listdir("/proc/self/fd")) == before + 1  # that by which the test holds the namespace


async def test_closing_ends_all_and_refuses_more(
    settings: LocalSandboxSettings, namespace_of: NamespaceOf, processes_in: ProcessesIn
) -> None:
    async with asyncio.timeout(30), LocalSandboxes(settings) as sandboxes:
        both = [await sandboxes.of(RunId(f"run-{n}"), is_resumed=False) for n in range(2)]
        namespaces = [await namespace_of(sandbox) for sandbox in both]
    assert [processes_in(namespace) for namespace in namespaces] == [[], []]
    for sandbox in both:
        with pytest.raises(ToolUnavailable, match="gone"):
            await sandbox.run_python("1", timeout_seconds=5)
    with pytest.raises(ToolUnavailable, match="gone"):
        await sandboxes.of(RUN, is_resumed=False)
    assert repr(sandboxes) == "<LocalSandboxes [0 open, 3 free, 0 waiting]>"


async def test_a_sandbox_that_the_host_kills_between_calls_is_replaced(
    sandbox: Sandbox, namespace_of: NamespaceOf, processes_in: ProcessesIn
) -> None:
    for use in ("run", "file"):
        namespace = await namespace_of(sandbox)
        os.kill(max(processes_in(namespace)), signal.SIGKILL)
        await emptied(namespace, processes_in)
        if use == "run":
            result = await sandbox.run_python("1", timeout_seconds=20)
            assert result.error.startswith("The interpreter was ended by signal 9. The names and files")
        else:
            with pytest.raises(ToolUnavailable, match="gone"):
                await sandbox.read_file("a", max_bytes=1)
            assert (await sandbox.run_python("1", timeout_seconds=20)).is_in_new_sandbox
        assert (await sandbox.run_python("1", timeout_seconds=20)) == CodeResult(stdout="1\n")


async def test_no_descriptor_is_left_open(settings: LocalSandboxSettings) -> None:
    async with asyncio.timeout(50), LocalSandboxes(settings) as sandboxes:
        await use_up(sandboxes)  # what the loop opens once, it keeps
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            await use_up(sandboxes)
        assert len(os.listdir("/proc/self/fd")) == before


async def use_up(sandboxes: LocalSandboxes) -> None:
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    await sandbox.run_python("1", timeout_seconds=20)
    await sandbox.run_python("import os; os._exit(1)", timeout_seconds=20)
    await sandbox.run_python("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", timeout_seconds=0.05)
    await sandbox.run_python("1", timeout_seconds=20)
    await sandboxes.release(RUN, is_resumed=False)


SERVER = """
import asyncio, ctypes, os, sys
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings

async def main():
    async with LocalSandboxes(LocalSandboxSettings(packages=())) as sandboxes:
        sandbox = await sandboxes.of("run-1", is_resumed=False)
        {body}
asyncio.run(main())
"""
KILLED_SERVER = SERVER.format(
    body="""idle = await sandboxes.of("run-2", is_resumed=False)
        for one in (sandbox, idle):
            print((await one.run_python("import os; print(os.stat('/proc/self/ns/pid').st_ino)",
                                        timeout_seconds=20)).stdout, flush=True)
        await sandbox.run_python('''
import signal, subprocess, time
for number in (1, 2, 3, 13, 15): signal.signal(number, signal.SIG_IGN)
subprocess.Popen(["sleep", "60"], start_new_session=True)
while True: time.sleep(1)
''', timeout_seconds=60)"""
)
# The orphans of its children come to this process, as to the first one of a container.
FIRST_PROCESS = SERVER.format(
    body="""assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
        for code in ("os._exit(1)", "os.kill(os.getpid(), 9)"):
            await sandbox.run_python(f"import os; {code}", timeout_seconds=20)
        await sandboxes.release("run-1", is_resumed=False)
        try: print(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError: print("nobody")"""
)


async def test_a_killed_server_leaves_nothing_behind(held: Callable[[int], int], processes_in: ProcessesIn) -> None:
    async with asyncio.timeout(40):
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED_SERVER, stdout=asyncio.subprocess.PIPE, env=environment()
        )
        assert server.stdout is not None
        lines = [await server.stdout.readline() for _ in range(4)]
        namespaces = [held(int(line)) for line in lines if line.strip()]
        busy, idle = namespaces
        while len(processes_in(busy)) < 3:  # noqa: ASYNC110 -- until its program has started another
            await asyncio.sleep(0.01)
        assert len(processes_in(idle)) == 2
        server.kill()
        await server.wait()
        for namespace in namespaces:
            await emptied(namespace, processes_in)


async def test_the_first_process_of_a_container_buries_the_dead() -> None:
    async with asyncio.timeout(40):
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FIRST_PROCESS, stdout=asyncio.subprocess.PIPE, env=environment()
        )
        output, _ = await server.communicate()
    assert output == b"nobody\n"


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(Path.home())}
