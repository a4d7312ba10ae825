import pytest
from thinkpool_pipeline.sandbox.local.enclosure import Contents
from thinkpool_pipeline.sandbox.local.oversight import Oversight, Sight, Verdict
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings

SETTINGS = LocalSandboxSettings(
    memory_bytes=3 * 1024**2, max_disk_files=5, max_processes=4, max_printed_bytes=1024**2 // 2
)


def sight(at: float, *, printed: int = 0, tasks: int = 1, memory_bytes: int = 0, disk_files: int = 0) -> Sight:
    contents = Contents(tasks=tasks, memory_bytes=memory_bytes, disk_files=disk_files)
    return Sight(at_seconds=at, printed_bytes=printed, contents=contents)


@pytest.fixture
def oversight() -> Oversight:
    return Oversight(SETTINGS, started_at=100.0, timeout_seconds=2.5)


def test_what_keeps_within_its_limits_is_left_alone(oversight: Oversight) -> None:
    within = sight(102.4, printed=1024**2 // 2, tasks=6, memory_bytes=3 * 1024**2, disk_files=5)
    assert oversight.verdict(within) is None
    assert oversight.seconds_left(102.0) == 0.5


def test_what_takes_too_long_is_interrupted_then_killed(oversight: Oversight) -> None:
    assert oversight.verdict(sight(102.5)) == Verdict(act="interrupt", reason="after 2.5 s")
    assert oversight.seconds_left(102.5) == 0.5
    assert oversight.verdict(sight(102.9)) is None
    assert oversight.verdict(sight(103.0)) == Verdict(act="kill", reason="after 2.5 s")
    assert oversight.seconds_left(104.0) == 0.0


def test_what_prints_too_much_is_interrupted_then_killed_for_that(oversight: Oversight) -> None:
    reason = "because it printed more than 0.5 MiB"
    assert oversight.verdict(sight(100.1, printed=1024**2)) == Verdict(act="interrupt", reason=reason)
    assert oversight.verdict(sight(100.2, printed=2 * 1024**2)) is None
    assert oversight.verdict(sight(100.6, printed=3 * 1024**2)) == Verdict(act="kill", reason=reason)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (sight(100, memory_bytes=3 * 1024**2 + 1), "because it held more than 3 MiB of memory"),
        (sight(100, disk_files=6), "because it made more than 5 files"),
        (sight(100, tasks=7), "because it had more than 4 processes and threads"),
    ],
)
def test_what_takes_too_much_is_killed_at_once(oversight: Oversight, seen: Sight, reason: str) -> None:
    assert oversight.verdict(seen) == Verdict(act="kill", reason=reason)
