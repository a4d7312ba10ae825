"""Several keys of one account, or of several."""

import asyncio

import pytest
from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.testing.e2b import Fault
from thinkpool_pipeline.values import RunId

KEYS = ("key-a", "key-b", "key-c")


async def nothing_unfinished() -> set[RunId]:
    return set()


async def test_keys_take_turns_and_each_sandbox_is_killed_with_its_own(e2b, open_sandboxes):
    async with open_sandboxes(api_keys=KEYS) as sandboxes:
        for number in range(4):
            await sandboxes.of(RunId(f"run-{number}"), is_resumed=False)

    assert [record.api_key for record in e2b.ledger.sandboxes] == ["key-a", "key-b", "key-c", "key-a"]
    assert {record.end for record in e2b.ledger.sandboxes} == {"killed"}


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_key_that_is_refused_rests_and_another_one_works(e2b, open_sandboxes, status):
    e2b.faults.add(Fault(kind="status", status=status, api_key="key-a", endpoint="create"))
    async with open_sandboxes(api_keys=KEYS) as sandboxes:
        for number in range(3):
            await sandboxes.of(RunId(f"run-{number}"), is_resumed=False)

        assert [record.api_key for record in e2b.ledger.sandboxes] == ["key-b", "key-c", "key-b"]
        assert sum(call.api_key == "key-a" for call in e2b.ledger.of("create")) <= 2


async def test_when_no_key_is_accepted_the_model_is_told(e2b, open_sandboxes):
    e2b.limits.api_keys = frozenset({"another"})
    async with open_sandboxes(api_keys=KEYS) as sandboxes:
        with pytest.raises(ToolUnavailable, match="none of the keys"):
            await sandboxes.of(RunId("run-1"), is_resumed=False)

    assert len(e2b.ledger.of("create")) == 3


async def test_a_creation_in_doubt_is_asked_for_again_with_the_same_key(e2b, open_sandboxes):
    e2b.faults.add(Fault(kind="unheard", endpoint="create", times=2))
    async with open_sandboxes(api_keys=KEYS) as sandboxes:
        await sandboxes.of(RunId("run-1"), is_resumed=False)

        assert {call.api_key for call in e2b.ledger.of("create")} == {"key-a"}
        assert len(e2b.ledger.sandboxes) == 1


async def test_a_resumed_run_and_a_sweep_look_under_every_key_that_is_accepted(e2b, open_sandboxes):
    async with open_sandboxes(api_keys=KEYS) as crashed:
        for number in range(3):
            await crashed.of(RunId(f"run-{number}"), is_resumed=False)
        e2b.limits.api_keys = frozenset({"key-b", "key-c"})
        async with open_sandboxes(api_keys=KEYS) as sandboxes:
            found = await sandboxes.of(RunId("run-2"), is_resumed=True)
            ended = await sandboxes.sweep(nothing_unfinished)

            assert (found.key, ended) == ("key-c", 1)
            assert [record.api_key for record in e2b.ledger.alive] == ["key-a", "key-c"]
        e2b.limits.api_keys = None
    assert e2b.ledger.alive == []


async def test_a_key_that_no_header_can_hold_is_refused_at_once(open_sandboxes):
    with pytest.raises(ValueError, match="key"):
        async with open_sandboxes(api_keys=("fine", "not\nfine")):
            await asyncio.sleep(0)
