"""What keeps a host from having sandboxes is played by a `bwrap` of our own, first on the path."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings, SandboxesUnavailable, probe
from thinkpool_pipeline.values import RunId

REAL = shutil.which("bwrap")
needs_bubblewrap = pytest.mark.skipif(REAL is None, reason="bwrap is not installed")

Install = Callable[[str], None]

# Passes on everything to the real one, but for one option that `OPTION` names, or with another program inside.
PASSING_ON = """#!{python}
import os, sys
at = sys.argv.index("--args") + 1 if "--args" in sys.argv else 0
if at:
    options = os.read(int(sys.argv[at]), 1 << 20).decode().split("\\0")
    {change}
    held = os.memfd_create("changed")
    os.write(held, "\\0".join(options).encode())
    os.lseek(held, 0, 0)
    os.set_inheritable(held, True)
    sys.argv[at] = str(held)
os.execv("{real}", sys.argv)
"""


# One field, of five letters, to the descriptor that comes before the four limits.
OTHER_WORDS = "import os, sys; len(sys.argv) > 5 and os.write(int(sys.argv[-5]), b'\\0\\0\\0\\1\\0\\0\\0\\5hello')"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(script: str) -> None:
        path = tmp_path / "bwrap"
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return install


@needs_bubblewrap
async def test_a_host_that_can_says_so(settings: LocalSandboxSettings) -> None:
    found = await probe(settings)
    assert found.reason == ""
    assert found.is_available


async def test_without_bubblewrap_it_says_so(
    settings: LocalSandboxSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await probe(settings)
    assert (found.is_available, found.reason) == (False, "no sandbox: bwrap is not installed")
    with pytest.raises(SandboxesUnavailable, match="bwrap is not installed"):
        async with LocalSandboxes(settings):
            pass


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1", "bwrap: No permissions to"),
        ("#!/bin/sh\nexit 0", "it ended at once"),
        ("#!/bin/sh\nexec sleep 60", "it was not ready within 0.5 s"),
        ("not a program", "Exec format error"),
        (f"#!{sys.executable}\n{OTHER_WORDS}", "its worker said something else"),
    ],
)
async def test_what_forbids_it_is_the_reason(
    settings: LocalSandboxSettings, install: Install, script: str, reason: str
) -> None:
    install(script)
    found = await probe(replace(settings, start_seconds=0.5))
    assert not found.is_available
    assert reason in found.reason
    assert "\n" not in found.reason


async def test_a_run_is_told_that_it_has_none(settings: LocalSandboxSettings, install: Install) -> None:
    install("#!/bin/sh\nexit 1")
    async with LocalSandboxes(settings) as sandboxes:
        with pytest.raises(ToolUnavailable, match="did not start"):
            await sandboxes.of(RunId("run-1"), is_resumed=False)


@needs_bubblewrap
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            'at_filter = options.index("--seccomp"); del options[at_filter : at_filter + 2]',
            "Seccomp is not as promised",
        ),
        ('options += ["--setenv", "A", "B", "--bind", "/nowhere", "/nowhere"]', "source path"),
    ],
)
async def test_a_sandbox_that_does_not_hold_is_none(
    settings: LocalSandboxSettings, install: Install, change: str, reason: str
) -> None:
    install(PASSING_ON.format(python=sys.executable, real=REAL, change=change))
    found = await probe(settings)
    assert not found.is_available
    assert reason in found.reason
