import pytest
from thinkpool_pipeline.errors import QueueFull, TooManyRuns
from thinkpool_pipeline.values import RunId
from thinkpool_server.admission import CLASS_SPAN, Admission, Ticket
from thinkpool_server.runs import Tenant

A, B, C = Tenant("a"), Tenant("b"), Tenant("c")


def filled(slots: int, max_queued: int, runs: int) -> Admission:
    admission = Admission(slots=slots, max_queued=max_queued)
    for number in range(runs):
        admission.admit(RunId(f"r{number}"), A, 5)
    return admission


def test_exactly_the_slots_and_the_queue_are_admitted() -> None:
    admission = filled(4, 500, 504)
    with pytest.raises(QueueFull):
        admission.admit(RunId("one more"), A, 5)
    admission.leave(RunId("r0"))
    admission.admit(RunId("one more"), A, 5)
    assert repr(admission) == "<Admission [0 executing, 504 waiting]>"


def test_a_tenant_that_floods_the_queue_leaves_the_others_their_share() -> None:
    admission = Admission(slots=2, max_queued=9, tenants=(A, B, C))
    for number in range(5):
        admission.admit(RunId(f"a{number}"), A, 1 + number % 9)
    with pytest.raises(TooManyRuns) as refused:
        admission.admit(RunId("too many"), A, 5)
    assert refused.value.retry_after_seconds == 5
    for number in range(3):
        admission.admit(RunId(f"b{number}"), B, 5)
        admission.admit(RunId(f"c{number}"), C, 5)
    with pytest.raises(QueueFull):
        admission.admit(RunId("full"), B, 5)
    admission.leave(RunId("c0"))
    with pytest.raises(TooManyRuns):
        admission.admit(RunId("another's"), A, 5)
    admission.admit(RunId("its own"), C, 5)


def test_retry_after_follows_from_how_long_runs_take() -> None:
    admission = filled(2, 1, 3)
    with pytest.raises(QueueFull) as unknown:
        admission.admit(RunId("x"), A, 5)
    assert unknown.value.retry_after_seconds == 5
    admission.start(RunId("r0"))
    admission.leave(RunId("r0"), executed_seconds=30.0)
    admission.admit(RunId("r3"), A, 5)
    with pytest.raises(QueueFull) as known:
        admission.admit(RunId("x"), A, 5)
    assert known.value.retry_after_seconds == 15


def test_ranks_order_by_class_and_then_by_arrival() -> None:
    admission = Admission(slots=1, max_queued=9)
    tickets = [admission.admit(RunId(str(index)), A, priority) for index, priority in enumerate((5, 9, 1, 5, 1))]
    assert [ticket.run_id for ticket in sorted(tickets, key=lambda one: one.rank)] == ["2", "4", "0", "3", "1"]
    last = Ticket(run_id=RunId("z"), tenant=A, priority=9, arrival=CLASS_SPAN - 1, accepted_at=0.0)
    assert tickets[2].rank >= 1
    assert last.rank <= 2**31 - 1


def test_a_place_counts_the_own_tenants_runs_ahead_and_all_others() -> None:
    admission = Admission(slots=1, max_queued=99)
    admission.admit(RunId("first"), A, 5)
    admission.start(RunId("first"))
    for number in range(3):
        admission.admit(RunId(f"b{number}"), B, 5)
    ticket = admission.admit(RunId("a1"), A, 5)
    urgent = admission.admit(RunId("a2"), A, 1)
    assert (admission.place(ticket).position, admission.place(ticket).ahead) == (2, 4)
    assert (admission.place(urgent).position, admission.place(urgent).ahead) == (1, 3)
    assert {run_id: place.position for run_id, place in admission.places()} == {
        "b0": 1,
        "b1": 2,
        "b2": 3,
        "a2": 1,
        "a1": 2,
    }
    assert admission.place(ticket).estimated_start_seconds is None
    admission.leave(RunId("first"), executed_seconds=10.0)
    assert admission.place(ticket).estimated_start_seconds == 40.0


def test_with_a_free_slot_the_place_is_zero() -> None:
    admission = Admission(slots=2, max_queued=9)
    ticket = admission.admit(RunId("a"), A, 5)
    assert admission.place(ticket).position == 0
    assert admission.place(ticket).estimated_start_seconds == 0.0


def test_only_runs_of_the_same_tenant_and_class_go_before_another() -> None:
    admission = Admission(slots=9, max_queued=9)
    admission.admit(RunId("a5"), A, 5)
    admission.admit(RunId("b5"), B, 5)
    admission.admit(RunId("a1"), A, 1)
    admission.admit(RunId("a5 later"), A, 5)
    assert admission.predecessor(RunId("a5 later")) == "a5"
    assert admission.predecessor(RunId("b5")) is None
    assert admission.predecessor(RunId("a1")) is None
    admission.start(RunId("a5"))
    assert admission.predecessor(RunId("a5 later")) is None
    assert admission.predecessor(RunId("unknown")) is None


def test_figures_return_to_zero_however_runs_leave() -> None:
    admission = filled(2, 98, 100)
    for number in range(100):
        if number % 3:
            admission.start(RunId(f"r{number}"))
        admission.leave(RunId(f"r{number}"))
        admission.leave(RunId(f"r{number}"))
    assert (admission.waiting, admission.executing, list(admission.places())) == (0, 0, [])


def test_arrivals_go_on_after_a_restart() -> None:
    assert Admission(slots=1, max_queued=1, last_arrival=41).admit(RunId("a"), A, 5).arrival == 42


def test_runs_that_waited_too_long_are_named() -> None:
    admission = filled(1, 9, 2)
    assert admission.overdue(0.0) == []
    assert admission.overdue(1e12) == ["r0", "r1"]


def test_what_ended_elsewhere_counts_towards_the_estimate() -> None:
    admission = Admission(slots=1, max_queued=5)
    first = admission.admit(RunId("a"), A, 5)
    admission.start(first.run_id)
    second = admission.admit(RunId("b"), A, 5)
    assert admission.place(second).estimated_start_seconds is None
    admission.note_end(first.run_id)
    admission.start(second.run_id)
    third = admission.admit(RunId("c"), A, 5)
    assert admission.place(third).estimated_start_seconds is not None


def test_the_number_that_the_database_gives_decides_the_order() -> None:
    admission = Admission(slots=1, max_queued=9)
    own = [admission.admit(RunId(name), A, 5) for name in ("a", "b")]
    elsewhere = Ticket(run_id=RunId("x"), tenant=A, priority=5, arrival=1, accepted_at=0.0)
    admission.readmit(elsewhere)
    confirmed = [admission.confirm(ticket, arrival) for ticket, arrival in zip(own, (3, 2), strict=True)]
    assert [ticket.rank - confirmed[1].rank for ticket in confirmed] == [1, 0]
    assert admission.predecessor(RunId("a")) == "b"
    assert admission.predecessor(RunId("b")) == "x"
    assert admission.admit(RunId("c"), A, 5).arrival == 4
    for name in ("x", "b", "a", "c"):
        admission.leave(RunId(name))
    assert repr(admission) == "<Admission [0 executing, 0 waiting]>"


def test_other_replicas_runs_take_room_too() -> None:
    admission = Admission(slots=2, max_queued=1)
    assert admission.refusal(A, executing=2, waiting={}) is None
    assert isinstance(admission.refusal(A, executing=2, waiting={A: 1}), QueueFull)
    admission.slots = 3
    assert admission.refusal(A, executing=2, waiting={A: 1}) is None
