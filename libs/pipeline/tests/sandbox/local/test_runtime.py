import marshal
import os
import sys
from pathlib import Path

from thinkpool_pipeline.sandbox.local.runtime import compiled, find_runtime, package_paths


def test_a_runtime_is_the_interpreter_beneath_and_the_system() -> None:
    runtime = find_runtime(())
    assert os.access(runtime.python, os.X_OK)
    assert Path(runtime.python).parent.parent == Path(sys.base_exec_prefix)
    shown = {destination for _, destination in runtime.readable}
    assert "/usr/lib" in shown
    assert all(source == destination for source, destination in runtime.readable)
    never = ("/etc", "/home", "/root", "/var", "/opt", "/srv", "/tmp", "/usr", "/usr/local", "/usr/src", "/")
    assert not shown & set(never)
    assert not [path for path in shown if __file__.startswith(f"{path}/")]


def test_packages_come_with_what_they_need_and_nothing_else() -> None:
    names = {path.name for path in package_paths(("aiohttp", "Not_Installed"))}
    assert {"aiohttp", "yarl", "multidict", "attr"} <= names
    assert not {"pytest", "thinkpool_pipeline", "bin", "..", "__pycache__"} & names
    assert not [name for name in names if name.endswith(".dist-info")]
    assert package_paths(()) == []
    assert f"/opt/sandbox/lib/{sorted(names)[0]}" in {to for _, to in find_runtime(("aiohttp",)).readable}


def test_the_worker_comes_compiled() -> None:
    code = marshal.loads(compiled("worker")[16:])
    assert code.co_filename == "/opt/sandbox/worker.pyc"
