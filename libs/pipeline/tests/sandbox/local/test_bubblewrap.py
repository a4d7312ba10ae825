import contextlib
import os
import shutil
import stat
from pathlib import Path

import pytest
from thinkpool_pipeline.sandbox.local import LocalSandboxSettings, SandboxesUnavailable, bubblewrap


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A bubblewrap of old, which knows no --disable-userns."""
    path = tmp_path / "bwrap"
    path.write_text("#!/bin/sh\necho usage: bwrap\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_an_ordinary_user_is_nobody_in_a_namespace_without_further_ones(program: str) -> None:
    old = bubblewrap._as_user(program, 10)
    assert old == ("--unshare-user", "--unshare-all", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL")
    new = shutil.which("bwrap")
    if new is not None:
        assert bubblewrap._as_user(new, 10) in (old, (*old, "--disable-userns"))


def test_a_program_that_cannot_be_asked_is_none(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o700)
    with pytest.raises(SandboxesUnavailable, match=r"not ready within 0\.1 s"):
        bubblewrap._as_user(str(slow), 0.1)
    with pytest.raises(SandboxesUnavailable, match="No such file"):
        bubblewrap._as_user(str(tmp_path / "none"), 0.1)


def test_root_leaves_all_namespaces_and_keeps_what_it_needs_to_become_another() -> None:
    options = bubblewrap._as_root()
    assert {"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"} < set(options)
    assert options[options.index("--cap-drop") :] == (
        *("--cap-drop", "ALL"),
        *("--cap-add", "CAP_SETUID"),
        *("--cap-add", "CAP_SETGID"),
    )


def test_everything_is_mounted_before_the_root_is_sealed(settings: LocalSandboxSettings) -> None:
    prepared = bubblewrap.Bubblewrap(
        program="/usr/bin/bwrap",
        options=("--proc", "/proc"),
        python="/usr/bin/python3",
        limits=bubblewrap._limits(settings),
        set_user="/usr/bin/setpriv",
        system_call_filter=b"filter",
        worker=b"worker",
        plots=b"plots",
    )
    with contextlib.ExitStack() as stack:
        launch = prepared.launch(channel=90, info=91, number=7, stack=stack)
        held = [os.pread(descriptor, 10_000, 0) for descriptor in launch.descriptors[2:]]
        assert held[:3] == [b"worker", b"plots", b"filter"]
        options = held[3].decode().split("\0")
        assert options[:2] == ["--proc", "/proc"]
        assert options[-2:] == ["--remount-ro", "/"]
    assert not [descriptor for descriptor in launch.descriptors[2:] if os.path.exists(f"/proc/self/fd/{descriptor}")]
    user = "1879048199"
    assert launch.command == (
        *("/usr/bin/bwrap", "--args", str(launch.descriptors[-1]), "--"),
        *("/usr/bin/setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-setuid,-setgid", "--"),
        *("/usr/bin/python3", "-I", "-S", "/opt/sandbox/worker.pyc", "90"),
        *(str(settings.memory_bytes), "600", str(settings.disk_bytes), "17"),
    )


def test_what_stands_in_the_way_is_said() -> None:
    assert bubblewrap._obstacle("riscv64", are_children_listed=True) == "there is no system call filter for riscv64"
    assert "CONFIG_PROC_CHILDREN" in bubblewrap._obstacle("x86_64", are_children_listed=False)
    assert bubblewrap._obstacle("aarch64", are_children_listed=True) == ""
