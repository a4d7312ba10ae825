import pytest
from thinkpool_server.engine import EngineLimits
from thinkpool_server.engine.sharing import Room, TenantLoad, room_for, share_out
from thinkpool_server.runs import Tenant

LIMITS = EngineLimits(in_deployment=6, in_replica=6, per_tenant=6)


def load(name: str, *, executing: int = 0, queued: int = 0, served_at: int = 0, waiting_since: int = 0) -> TenantLoad:
    return TenantLoad(
        tenant=Tenant(name),
        executing=executing,
        queued=queued,
        served_at=(served_at, 0),
        waiting_since=waiting_since,
    )


@pytest.mark.parametrize(
    ("loads", "slots", "shares"),
    [
        pytest.param([], 3, {}, id="nobody waits"),
        pytest.param([load("a", queued=40)], 6, {"a": 6}, id="one tenant has everything to itself"),
        pytest.param([load("a", queued=2)], 6, {"a": 2}, id="no more than is queued"),
        pytest.param([load("a", queued=2)], 0, {}, id="no slot is free"),
        pytest.param([load("a", queued=2)], -1, {}, id="fewer slots than runs that execute"),
        pytest.param([load("a", queued=9), load("b", queued=9)], 6, {"a": 3, "b": 3}, id="equals share equally"),
        pytest.param([load("a", queued=9), load("b", queued=1)], 6, {"a": 5, "b": 1}, id="what one leaves others get"),
        pytest.param(
            [load("a", executing=4, queued=9), load("b", queued=9), load("c", queued=9)],
            5,
            {"b": 3, "c": 2},
            id="who executes fewest comes first",
        ),
        pytest.param(
            [load("a", executing=2, queued=9), load("b", executing=1, queued=9)],
            3,
            {"b": 2, "a": 1},
            id="up to a level",
        ),
        pytest.param(
            [load("a", queued=9, served_at=7), load("b", queued=9, served_at=3)], 1, {"b": 1}, id="served longest ago"
        ),
        pytest.param(
            [load("a", queued=9, waiting_since=7), load("b", queued=9, waiting_since=3)],
            1,
            {"b": 1},
            id="waiting longest",
        ),
        pytest.param(
            [load("a", queued=9, served_at=1, waiting_since=7), load("b", queued=9, served_at=2, waiting_since=3)],
            1,
            {"a": 1},
            id="a turn counts more than the wait",
        ),
        pytest.param([load("a", executing=9, queued=9), load("b", queued=1)], 6, {"b": 1}, id="beyond its own limit"),
    ],
)
def test_free_slots_are_shared_max_min_fairly(loads: list[TenantLoad], slots: int, shares: dict[str, int]) -> None:
    assert share_out(loads, slots, LIMITS) == shares


def test_those_come_first_that_are_served_first() -> None:
    loads = [load("a", queued=9, served_at=5), load("b", queued=9, served_at=4), load("c", queued=9, executing=1)]
    assert list(share_out(loads, 6, LIMITS)) == ["b", "a", "c"]


def test_a_tenants_limit_holds() -> None:
    limits = EngineLimits(in_deployment=6, in_replica=6, per_tenant=2)
    assert share_out([load("a", executing=1, queued=9), load("b", queued=9)], 6, limits) == {"b": 2, "a": 1}


def test_turns_go_round_when_each_slot_comes_free_alone() -> None:
    order: list[str] = []
    served = {"a": 0, "b": 0, "c": 0}
    for moment in range(1, 8):
        loads = [load(name, queued=9, served_at=at) for name, at in served.items()]
        (tenant,) = share_out(loads, 1, LIMITS)
        order.append(tenant)
        served[tenant] = moment
    assert order == ["a", "b", "c", "a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("loads", "here", "replicas", "room"),
    [
        ([load("a", queued=40)], 0, 1, Room(fair=6, possible=6)),
        ([load("a", queued=40)], 0, 3, Room(fair=2, possible=6)),
        ([load("a", queued=40)], 0, 4, Room(fair=2, possible=6)),
        ([load("a", queued=40)], 0, 0, Room(fair=6, possible=6)),
        ([load("a", executing=4, queued=40)], 2, 3, Room(fair=0, possible=2)),
        ([load("a", executing=4, queued=40)], 1, 3, Room(fair=1, possible=2)),
        ([load("a", executing=4, queued=1)], 0, 3, Room(fair=1, possible=1)),
        ([load("a", executing=1, queued=1)], 1, 3, Room(fair=0, possible=1)),
        ([load("a", executing=1, queued=1)], 0, 3, Room(fair=1, possible=1)),
        ([load("a", executing=3), load("b", queued=1)], 1, 2, Room(fair=1, possible=1)),
        ([load("a", executing=6, queued=9)], 2, 3, Room(fair=0, possible=0)),
        ([load("a", executing=8, queued=9)], 0, 3, Room(fair=0, possible=0)),
        ([load("a", queued=9)], 4, 1, Room(fair=1, possible=1)),
        ([load("a", queued=9)], 7, 1, Room(fair=0, possible=0)),
        ([], 0, 3, Room(fair=0, possible=0)),
    ],
)
def test_room_is_what_the_limits_leave_and_fair_is_an_even_part_of_it(
    loads: list[TenantLoad], here: int, replicas: int, room: Room
) -> None:
    limits = EngineLimits(in_deployment=6, in_replica=5 if here >= 4 else 6, per_tenant=6)
    assert room_for(loads, limits, executing_here=here, replicas=replicas) == room


def test_what_a_tenants_limit_keeps_waiting_counts_for_nobodys_share() -> None:
    limits = EngineLimits(in_deployment=6, in_replica=6, per_tenant=2)
    assert room_for([load("a", queued=40)], limits, executing_here=0, replicas=2) == Room(fair=1, possible=2)
