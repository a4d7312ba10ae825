"""One sandbox a run, within the account's limits, and none left in the end; checked in the double's ledger."""

import asyncio
import time

import pytest
from thinkpool_pipeline.errors import ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import Timing
from thinkpool_pipeline.testing.e2b import Fault
from thinkpool_pipeline.values import RunId

RUN, OTHER = RunId("Run_1"), RunId("run_1")


async def test_a_run_has_one_sandbox_and_another_run_another(e2b, sandboxes):
    first, again, other = [await sandboxes.of(run, is_resumed=False) for run in (RUN, RUN, OTHER)]

    assert first is again
    assert first.sandbox_id != other.sandbox_id
    assert [(s.run_id, s.metadata["thinkpool-deployment"], s.has_internet) for s in e2b.ledger.sandboxes] == [
        (RUN, "thinkpool", False),
        (OTHER, "thinkpool", False),
    ]
    assert repr(sandboxes) == "<E2BSandboxes [2 of 20 open, 0 opening, 0 ending]>"
    assert sandboxes.name == "e2b"


async def test_nothing_is_made_before_it_is_wanted(e2b, sandboxes):
    await sandboxes.release(RUN, is_resumed=False)

    assert e2b.ledger.calls == []


async def test_calls_of_one_run_that_come_at_once_share_one_sandbox(e2b, sandboxes):
    e2b.limits.creation_seconds = 0.05
    found = await asyncio.gather(*(sandboxes.of(RUN, is_resumed=False) for _ in range(5)))

    assert len(set(found)) == 1
    assert len(e2b.ledger.of("create")) == 1


async def test_a_release_kills_in_the_background(e2b, sandboxes):
    await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="slow", endpoint="kill", seconds=0.05))
    await sandboxes.release(RUN, is_resumed=False)
    assert (len(e2b.ledger.alive), sandboxes.statistics().ending) == (1, 1)
    await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_a_release_holds_though_its_caller_is_being_cancelled(e2b, sandboxes):
    async def run() -> None:
        try:
            await sandboxes.of(RUN, is_resumed=False)
            await asyncio.Event().wait()
        finally:
            asyncio.current_task().cancel()  # a second time, so that the next await of anything raises
            await sandboxes.release(RUN, is_resumed=False)

    task = asyncio.ensure_future(run())
    await e2b.ledger.until(lambda ledger: ledger.alive)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await e2b.ledger.until(lambda ledger: not ledger.alive)


async def test_a_kill_that_fails_is_tried_until_it_is_done(e2b, sandboxes, waits):
    await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(
        Fault(kind="status", endpoint="kill", status=500, times=3), Fault(kind="reset", endpoint="kill", times=3)
    )
    await sandboxes.release(RUN, is_resumed=False)
    await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert len(e2b.ledger.of("kill")) == 7
    assert waits.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]


async def test_a_sandbox_that_cannot_be_killed_keeps_its_place_until_its_life_is_over(e2b, open_sandboxes):
    e2b.faults.add(Fault(kind="status", endpoint="kill", status=500))
    async with open_sandboxes(timing=Timing(), max_sandboxes=1, life_seconds=1) as sandboxes:
        await sandboxes.of(RUN, is_resumed=False)
        await sandboxes.release(RUN, is_resumed=False)
        await sandboxes.of(OTHER, is_resumed=False)

        assert e2b.ledger.sandboxes[0].end == "expired"
    assert e2b.ledger.peak_alive == 1


async def test_a_sandbox_that_arrives_after_the_release_is_killed(e2b, sandboxes):
    e2b.limits.creation_seconds = 0.1
    call = asyncio.ensure_future(sandboxes.of(RUN, is_resumed=False))
    await e2b.ledger.until(lambda ledger: ledger.of("create"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await sandboxes.release(RUN, is_resumed=False)
    await e2b.ledger.until(lambda ledger: ledger.sandboxes and not ledger.alive)

    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_a_creation_that_waits_for_its_turn_is_called_off_by_the_release(e2b, open_sandboxes):
    async with open_sandboxes(timing=Timing(), creations_per_second=5) as sandboxes:
        await sandboxes.of(OTHER, is_resumed=False)
        call = asyncio.ensure_future(sandboxes.of(RUN, is_resumed=False))
        await asyncio.sleep(0)
        await sandboxes.release(RUN, is_resumed=False)
        with pytest.raises(ToolUnavailable):
            await call

    assert [record.run_id for record in e2b.ledger.sandboxes] == [OTHER]


async def test_a_cancelled_call_leaves_the_sandbox_to_the_runs_next_one(e2b, sandboxes):
    e2b.limits.creation_seconds = 0.05
    call = asyncio.ensure_future(sandboxes.of(RUN, is_resumed=False))
    await e2b.ledger.until(lambda ledger: ledger.of("create"))
    call.cancel()
    await sandboxes.of(RUN, is_resumed=False)

    assert len(e2b.ledger.sandboxes) == 1


@pytest.mark.parametrize("kind", ["unheard", "stall", "garbage", "odd"])
async def test_a_sandbox_whose_creation_nobody_heard_of_is_found_and_killed(e2b, open_sandboxes, kind):
    e2b.faults.add(Fault(kind="unheard", endpoint="create", times=1), Fault(kind=kind, endpoint="create"))
    async with open_sandboxes(try_seconds=0.2) as sandboxes:
        with pytest.raises((ToolUnavailable, ToolTimeout)):
            await sandboxes.of(RUN, is_resumed=False)
        assert len(e2b.ledger.alive) == 1
        await sandboxes.release(RUN, is_resumed=False)
        await e2b.ledger.until(lambda ledger: not ledger.alive)


async def test_a_creation_that_shows_late_is_killed_too(e2b, open_sandboxes, waits):
    e2b.limits.creation_seconds = 0.5
    real = Timing(clock=lambda: waits.now, sleep=lambda seconds: asyncio.sleep(min(seconds, 0.25)), random=lambda: 0.0)
    async with open_sandboxes(try_seconds=0.1, timing=real, creations_per_second=1000) as sandboxes:
        with pytest.raises((ToolUnavailable, ToolTimeout)):
            await sandboxes.of(RUN, is_resumed=False)
        await sandboxes.release(RUN, is_resumed=False)
        await e2b.ledger.until(lambda ledger: ledger.sandboxes and not ledger.alive)

    assert {record.end for record in e2b.ledger.sandboxes} == {"killed"}


async def test_a_retried_creation_that_was_unheard_makes_one_sandbox(e2b, sandboxes):
    e2b.faults.add(Fault(kind="unheard", endpoint="create", times=2))
    await sandboxes.of(RUN, is_resumed=False)

    keys = {call.idempotency_key for call in e2b.ledger.of("create")}
    assert (len(e2b.ledger.of("create")), len(keys), len(e2b.ledger.sandboxes)) == (3, 1, 1)


async def test_closing_kills_what_is_left_and_refuses_what_comes(e2b, open_sandboxes):
    async with open_sandboxes() as sandboxes:
        await sandboxes.of(RUN, is_resumed=False)
    with pytest.raises(ToolUnavailable):
        await sandboxes.of(OTHER, is_resumed=False)
    await sandboxes.release(OTHER, is_resumed=True)

    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_closing_is_bounded_when_nothing_can_be_killed(e2b, open_sandboxes):
    e2b.faults.add(Fault(kind="stall", endpoint="kill"))
    async with open_sandboxes(close_seconds=0.1) as sandboxes:
        await sandboxes.of(RUN, is_resumed=False)
        await sandboxes.release(RUN, is_resumed=False)

    assert len(e2b.ledger.alive) == 1


async def test_never_more_are_alive_than_allowed_and_those_who_wait_get_theirs(e2b, open_sandboxes):
    e2b.limits.max_alive = 3
    async with open_sandboxes(max_sandboxes=3) as sandboxes:

        async def research(number: int) -> None:
            run = RunId(f"run-{number}")
            sandbox = await sandboxes.of(run, is_resumed=False)
            assert (await sandbox.run_python(f"{number}", timeout_seconds=10)).stdout == f"{number}\n"
            await sandboxes.release(run, is_resumed=False)

        await asyncio.gather(*(research(number) for number in range(12)))

    assert (len(e2b.ledger.sandboxes), e2b.ledger.peak_alive) == (12, 3)
    assert all(call.status == 201 for call in e2b.ledger.of("create"))
    assert e2b.ledger.alive == []


async def test_creations_keep_their_distance_and_the_service_never_has_to_refuse_one(e2b, open_sandboxes):
    e2b.limits.creations_per_second = 20
    async with open_sandboxes(timing=Timing(), creations_per_second=10) as sandboxes:
        await asyncio.gather(*(sandboxes.of(RunId(f"run-{number}"), is_resumed=False) for number in range(6)))

    assert [call.status for call in e2b.ledger.of("create")] == [201] * 6
    assert e2b.ledger.shortest_pause >= 1 / 20


async def test_who_finds_no_room_in_time_is_told(open_sandboxes):
    async with open_sandboxes(max_sandboxes=1, opening_seconds=0.1) as sandboxes:
        await sandboxes.of(RUN, is_resumed=False)
        began = time.monotonic()
        with pytest.raises(ToolTimeout, match="There is no code sandbox now"):
            await sandboxes.of(OTHER, is_resumed=False)
        assert time.monotonic() - began < 5
        await sandboxes.release(OTHER, is_resumed=False)
        await sandboxes.release(RUN, is_resumed=False)
        await sandboxes.of(RunId("third"), is_resumed=False)


async def test_a_lost_sandbox_is_replaced_and_the_loss_is_told(e2b, sandboxes):
    first = await sandboxes.of(RUN, is_resumed=False)
    await first.run_python("x = 1", timeout_seconds=10)
    e2b.lose()
    with pytest.raises(ToolUnavailable, match="gone, and with it the names and files"):
        await first.run_python("x", timeout_seconds=10)
    second = await sandboxes.of(RUN, is_resumed=False)
    result = await second.run_python("x", timeout_seconds=10)
    with pytest.raises(ToolUnavailable):
        await first.run_command("true", timeout_seconds=10)  # the old one stays gone, and takes the new one nowhere

    assert await sandboxes.of(RUN, is_resumed=False) is second
    assert result.error.endswith("NameError: name 'x' is not defined")
    assert result.is_in_new_sandbox
    assert result.stderr == ""
    assert not (await second.run_python("1", timeout_seconds=10)).is_in_new_sandbox  # said once
    assert [record.end for record in e2b.ledger.sandboxes] == ["lost", None]


async def test_a_run_that_loses_one_after_another_gets_no_more(e2b, open_sandboxes):
    async with open_sandboxes(max_replacements=2) as sandboxes:
        for _ in range(3):
            sandbox = await sandboxes.of(RUN, is_resumed=False)
            e2b.lose()
            with pytest.raises(ToolUnavailable):
                await sandbox.read_file("a", max_bytes=1)
        with pytest.raises(ToolUnavailable, match="gets no more"):
            await sandboxes.of(RUN, is_resumed=False)

    assert len(e2b.ledger.sandboxes) == 3


async def test_a_sandbox_that_cannot_be_reached_is_kept(e2b, sandboxes):
    sandbox = await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="status", status=500, endpoint="read", times=4))
    with pytest.raises(ToolUnavailable, match=r"status 500"):
        await sandbox.read_file("a", max_bytes=1)

    assert await sandboxes.of(RUN, is_resumed=False) is sandbox


async def test_a_resumed_run_finds_its_sandbox_with_all_that_is_in_it(e2b, open_sandboxes):
    async with open_sandboxes() as crashed:
        await (await crashed.of(RUN, is_resumed=False)).run_python("x = 41", timeout_seconds=10)
        async with open_sandboxes() as sandboxes:
            sandbox = await sandboxes.of(RUN, is_resumed=True)
            result = await sandbox.run_python("x + 1", timeout_seconds=10)

        assert (result.stdout, result.is_in_new_sandbox) == ("42\n", False)
        assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_a_resumed_run_that_left_none_gets_a_new_one(e2b, sandboxes):
    sandbox = await sandboxes.of(RUN, is_resumed=True)
    result = await sandbox.run_python("1", timeout_seconds=10)

    assert (result.stdout, result.stderr, result.is_in_new_sandbox) == ("1\n", "", True)
    assert [call.endpoint for call in e2b.ledger.calls[:2]] == ["list", "create"]


async def test_a_resumed_run_whose_sandbox_ends_before_it_can_be_connected_to_gets_a_new_one(e2b, open_sandboxes):
    async with open_sandboxes() as crashed:
        await crashed.of(RUN, is_resumed=False)
        async with open_sandboxes() as sandboxes:
            e2b.faults.add(Fault(kind="lost", endpoint="connect"))
            await sandboxes.of(RUN, is_resumed=True)

            assert [record.end for record in e2b.ledger.sandboxes] == ["lost", None]


async def test_of_several_that_a_run_left_one_is_kept(e2b, open_sandboxes):
    async with open_sandboxes() as first, open_sandboxes() as second:
        await first.of(RUN, is_resumed=False)
        await second.of(RUN, is_resumed=False)
        async with open_sandboxes() as sandboxes:
            kept = await sandboxes.of(RUN, is_resumed=True)
            await e2b.ledger.until(lambda ledger: len(ledger.alive) == 1)

            assert e2b.ledger.alive[0].sandbox_id == kept.sandbox_id


async def test_a_resumed_run_that_used_no_sandbox_again_is_still_rid_of_the_old_one(e2b, open_sandboxes):
    async with open_sandboxes() as crashed:
        await crashed.of(RUN, is_resumed=False)
        await crashed.of(OTHER, is_resumed=False)
        async with open_sandboxes() as sandboxes:
            await sandboxes.release(RUN, is_resumed=True)
            await e2b.ledger.until(lambda ledger: len(ledger.alive) == 1)

        assert [record.run_id for record in e2b.ledger.alive] == [OTHER]


async def test_an_attempt_that_begins_while_the_last_one_is_cleared_away_keeps_its_sandbox(e2b, open_sandboxes):
    async with open_sandboxes() as sandboxes:
        e2b.faults.add(Fault(kind="slow", endpoint="list", seconds=0.1, times=1))
        await sandboxes.release(RUN, is_resumed=True)
        await e2b.ledger.until(lambda ledger: ledger.of("list"))
        await sandboxes.of(RUN, is_resumed=False)
        await asyncio.wait(sandboxes._endings)

        assert len(e2b.ledger.alive) == 1
    assert e2b.ledger.alive == []


async def test_a_look_for_what_is_left_that_fails_is_repeated(e2b, open_sandboxes):
    async with open_sandboxes() as crashed:
        await crashed.of(RUN, is_resumed=False)
        async with open_sandboxes() as sandboxes:
            e2b.faults.add(Fault(kind="status", status=500, endpoint="list", times=5))
            await sandboxes.release(RUN, is_resumed=True)
            await e2b.ledger.until(lambda ledger: not ledger.alive)

            assert len(e2b.ledger.of("list")) == 6


async def test_a_sandbox_that_is_being_killed_is_not_handed_to_the_next_attempt(e2b, open_sandboxes):
    async with open_sandboxes() as sandboxes:
        first = await sandboxes.of(RUN, is_resumed=False)
        e2b.faults.add(Fault(kind="slow", endpoint="kill", seconds=0.2, times=1))
        await sandboxes.release(RUN, is_resumed=False)
        await e2b.ledger.until(lambda ledger: ledger.of("kill"))
        second = await sandboxes.of(RUN, is_resumed=True)

        assert first.sandbox_id != second.sandbox_id


async def test_a_sweep_ends_the_sandboxes_of_runs_that_are_over(e2b, open_sandboxes):
    async with open_sandboxes() as crashed, open_sandboxes(deployment="another") as another:
        for run in ("over", "going on", "over, too"):
            await crashed.of(RunId(run), is_resumed=False)
        await another.of(RunId("over"), is_resumed=False)
        async with open_sandboxes() as sandboxes:
            await sandboxes.of(RunId("in these hands"), is_resumed=False)
            asked_after = []

            async def unfinished() -> set[RunId]:
                asked_after.extend(e2b.ledger.of("list"))
                return {RunId("going on")}

            assert await sandboxes.sweep(unfinished) == 2
            assert len(asked_after) == 1
            assert [(s.run_id, s.metadata["thinkpool-deployment"]) for s in e2b.ledger.alive] == [
                ("going on", "thinkpool"),
                ("over", "another"),
                ("in these hands", "thinkpool"),
            ]


async def test_a_sweep_leaves_to_a_release_what_is_its_own(e2b, sandboxes):
    async def unfinished() -> set[RunId]:
        return set()

    await sandboxes.of(RUN, is_resumed=False)
    e2b.faults.add(Fault(kind="slow", endpoint="kill", seconds=0.05))
    await sandboxes.release(RUN, is_resumed=False)

    assert await sandboxes.sweep(unfinished) == 0
    await e2b.ledger.until(lambda ledger: not ledger.alive)
    assert len(e2b.ledger.of("kill")) == 1


async def test_a_sweep_goes_through_all_pages(e2b, open_sandboxes):
    async with open_sandboxes(max_sandboxes=300) as crashed:
        await asyncio.gather(*(crashed.of(RunId(f"run-{number}"), is_resumed=False) for number in range(105)))
        async with open_sandboxes() as sandboxes:

            async def unfinished() -> set[RunId]:
                return set()

            assert await sandboxes.sweep(unfinished) == 105
    assert len(e2b.ledger.of("list")) == 2


async def test_a_sweep_that_the_service_fails_ends_what_it_can(e2b, open_sandboxes):
    async def unfinished() -> set[RunId]:
        return set()

    async with open_sandboxes() as crashed:
        await crashed.of(RUN, is_resumed=False)
        await crashed.of(OTHER, is_resumed=False)
        async with open_sandboxes() as sandboxes:
            e2b.faults.add(Fault(kind="status", status=500, endpoint="list", times=4))
            assert await sandboxes.sweep(unfinished) == 0
            e2b.faults.clear()
            e2b.faults.add(Fault(kind="status", status=500, endpoint="kill", times=1))
            assert await sandboxes.sweep(unfinished) == 1


async def test_a_sandbox_that_is_forgotten_ends_by_itself(e2b, open_sandboxes):
    e2b.faults.add(Fault(kind="stall", endpoint="kill"))
    async with open_sandboxes(life_seconds=1, close_seconds=0) as sandboxes:
        await sandboxes.of(RUN, is_resumed=False)
    await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert e2b.ledger.sandboxes[0].end == "expired"
