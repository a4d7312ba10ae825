"""The resume state machine in a world of its own: no sockets, no time, any fault."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinkpool.client.calls import Calls
from thinkpool.client.effects import Broken, Call, Close, Deliver, Open, Pause, Read, Reply
from thinkpool.client.errors import ConnectionFailed, Expired, NotFound, RateLimited, ServerFailed, UnexpectedAnswer
from thinkpool.client.events import event_of
from thinkpool.client.following import LASTING_SECONDS, Following
from thinkpool.client.retrying import Chance, RetryPolicy
from thinkpool_pipeline.events import encode
from thinkpool_server.testing.generated_runs import generated_run
from thinkpool_server.testing.scripts import completed_run

NOTICE = b'event: run.queued\ndata: {"position": 2, "ahead": 2, "estimated_start_seconds": null}\n\n'
STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
POLICY = RetryPolicy(stream_seconds=100, call_seconds=50, first_delay_seconds=1, max_delay_seconds=8)


@dataclass
class World:
    """A server's log and the way to it. Each stream meets the next fault; without one, it is whole."""

    log: list
    faults: list = field(default_factory=list)
    chunk_bytes: int = 7
    now: float = 0.0
    asked: list = field(default_factory=list)
    pauses: list = field(default_factory=list)
    pages: int = 0
    log_lacks: set = field(default_factory=set)
    is_open: bool = False

    def frames(self, after):
        return [
            (seq, b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, event.type.encode(), encode(event)))
            for seq, event in enumerate(self.log, start=1)
            if seq > after
        ]

    def perform(self, effect):
        match effect:
            case Pause(seconds):
                assert not self.is_open, "a stream is held while nobody reads it"
                self.now += seconds
                self.pauses.append(seconds)
            case Open(request=request):
                assert not self.is_open
                return self._open(int(request.headers["Last-Event-ID"]))
            case Read():
                assert self.is_open
                return self._read()
            case Close():
                self.is_open = False
            case Call(request):
                assert not self.is_open
                return self._page(int(request.query["after"]))
        return None

    def _open(self, after):
        self.asked.append(after)
        fault, *arguments = self.faults.pop(0) if self.faults else ("whole",)
        if fault == "refuse":
            return Broken("refused")
        if fault == "reply":
            return Reply(status=arguments[0], headers=arguments[1], body=arguments[2])
        if after >= len(self.log):
            return Reply(status=204, headers={})
        self.is_open = True
        frames = self.frames(after)
        self._wait = LASTING_SECONDS if fault.startswith("slowly") else 0.0
        self._rest = self._disturbed(fault, frames, *arguments)
        return Reply(status=200, headers=STREAM_HEADERS)

    def _disturbed(self, fault, frames, place=0):
        whole = b"".join(frame for _, frame in frames)
        match fault:
            case "cut":
                return whole[: place % (len(whole) + 1)]
            case "lose":
                return b"".join(frame for seq, frame in frames if seq != place % len(self.log) + 1)
            case "repeat":
                return whole[: place % len(whole)].rpartition(b"id: ")[0] + b"".join(f for _, f in self.frames(0))
            case "garble":
                at = place % len(whole)
                return whole[:at] + b"\n\n<html>Bad gateway</html>\n\n" + whole[at:]
            case "foreign":
                return b"id: x\nevent: run.started\ndata: {}\n\n" + whole
            case "retry":
                return b"retry: 4000\n\n"
            case "ping" | "slowly":
                return b": ping\n\n" * 2
            case "slowly noticed, foreign":
                return b": ping\n\n" + NOTICE + b"id: x\nevent: run.started\ndata: {}\n\n"
            case "slowly lose":
                return b": ping\n\n" + whole[whole.index(b"id: 2\n") :]
            case _:
                return b": ping\n\n" + whole

    def _read(self):
        self.now += self._wait
        chunk, self._rest = self._rest[: self.chunk_bytes], self._rest[self.chunk_bytes :]
        if not chunk:
            self.is_open = False
            return Broken("the end")
        return chunk

    def _page(self, after):
        self.pages += 1
        found = [
            {"seq": seq, "type": event.type, "data": json.loads(encode(event)), "at": 1.0}
            for seq, event in enumerate(self.log, start=1)
            if seq > after and seq not in self.log_lacks
        ]
        return Reply(status=200, headers={}, body=json.dumps({"events": found[:3]}).encode())

    def following(self, after=0, policy=POLICY):
        chance = Chance(now=lambda: self.now, up_to=lambda most: most)
        return Following("run", after=after, calls=Calls(policy, chance), policy=policy, chance=chance)

    def delivered(self, after=0, policy=POLICY):
        flow, outcome, items = self.following(after, policy).events(), None, []
        while True:
            try:
                effect = flow.send(outcome)
            except StopIteration:
                return items
            if isinstance(effect, Deliver):
                items += effect.items
                outcome = None
            else:
                outcome = self.perform(effect)

    def expected(self, after=0):
        numbered = list(enumerate(self.log, start=1))[after:]
        return [event_of(event.type, json.loads(encode(event)), seq=seq) for seq, event in numbered]


PROBLEM = {"content-type": "application/problem+json"}
ANYWHERE = st.integers(0, 100_000)
FAULTS = st.one_of(
    st.tuples(st.sampled_from(["cut", "lose", "repeat", "garble"]), ANYWHERE),
    st.sampled_from([("refuse",), ("foreign",), ("ping",), ("retry",)]),
    st.tuples(
        st.just("reply"),
        st.sampled_from([200, 302, 408, 429, 500, 502, 503, 504, 520]),
        st.sampled_from([{}, {"retry-after": "2"}, {"retry-after": "soon"}, {"content-type": "text/html"}]),
        st.sampled_from([b"", b"<html>", b"{}", b'{"code": "shutting-down"}']),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    faults=st.lists(FAULTS, max_size=12),
    chunk_bytes=st.integers(1, 400),
    after=st.integers(0, 40),
)
def test_whatever_happens_every_event_comes_once_and_in_order(seed, faults, chunk_bytes, after):
    world = World(list(generated_run(seed)), faults, chunk_bytes)
    after = min(after, len(world.log))
    patient = RetryPolicy(stream_seconds=10_000)
    delivered = world.delivered(after, patient)
    assert [event for event in delivered if event.seq is not None] == world.expected(after)
    assert {event.type for event in delivered if event.seq is None} <= {"run.queued"}
    assert not world.is_open


def test_a_cut_after_every_byte_is_not_noticed():
    whole = b"".join(frame for _, frame in World(list(completed_run())).frames(0))
    for place in range(0, len(whole), 5):
        world = World(list(completed_run()), [("cut", place)])
        assert world.delivered() == world.expected()
        assert world.asked == ([0, whole[:place].count(b"\n\n")] if place < len(whole) else [0])


def test_what_a_stream_lost_is_read_from_the_log():
    world = World(list(completed_run()), [("lose", 5)])
    assert world.delivered() == world.expected()
    assert world.pages == 1
    assert world.pauses == []
    assert world.asked == [0, 8]


def test_what_a_stream_repeats_is_dropped():
    world = World(list(completed_run()), [("repeat", 10**9)])
    assert world.delivered() == world.expected()
    assert world.asked == [0]


def test_what_neither_stream_nor_log_has_is_an_error_in_the_end():
    world = World(list(completed_run()), [("lose", 5)] * 100, log_lacks={6})
    with pytest.raises(UnexpectedAnswer, match="missing"):
        world.delivered()
    assert 50 < world.now < 100


def test_a_passing_notice_comes_without_a_number_and_moves_nothing():
    world = World(list(completed_run()))
    flow = world.following(after=3).events()
    flow.send(None)
    flow.send(Reply(status=200, headers=STREAM_HEADERS))
    (event,) = flow.send(NOTICE).items
    assert (event.type, event.seq) == ("run.queued", None)
    flow.send(None)
    flow.send(Broken("cut"))
    assert flow.send(None).request.headers["Last-Event-ID"] == "3"


def test_what_lost_its_number_is_not_handed_on_and_read_from_the_log():
    world = World(list(completed_run()))
    flow = world.following(after=3).events()
    flow.send(None)
    flow.send(Reply(status=200, headers=STREAM_HEADERS))
    assert isinstance(flow.send(b'event: report.delta\ndata: {"turn": 1, "text": "a"}\n\ndata: {}\n\n'), Read)
    assert isinstance(flow.send(b"id: 5\nevent: turn.started\ndata: {}\n\n"), Close)
    assert flow.send(None).request.query == {"after": "3"}


def test_nothing_more_ends_it():
    assert World(list(completed_run())).delivered(after=len(completed_run())) == []


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (410, Expired)])
def test_what_the_server_knows_better_is_an_error_at_once(status, kind):
    world = World(
        list(completed_run()), [("cut", 500), ("reply", status, PROBLEM, b'{"code": "gone", "detail": "No."}')]
    )
    with pytest.raises(kind, match="No"):
        world.delivered()
    assert len(world.asked) == 2


def test_a_fault_that_the_server_calls_its_own_is_not_asked_for_again():
    world = World(list(completed_run()), [("reply", 500, PROBLEM, b'{"code": "internal"}')])
    with pytest.raises(ServerFailed):
        world.delivered()
    assert world.pauses == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (("refuse",), ConnectionFailed),
        (("cut", 0), ConnectionFailed),
        (("ping",), ConnectionFailed),
        (("reply", 502, {}, b"<html>"), ServerFailed),
        (("reply", 429, {"retry-after": "30"}, b""), RateLimited),
        (("reply", 200, {"content-type": "text/html"}, b""), UnexpectedAnswer),
        (("foreign",), UnexpectedAnswer),
    ],
)
def test_patience_without_a_sign_of_life_has_an_end(fault, kind):
    world = World(list(completed_run()), [fault] * 1000)
    with pytest.raises(kind):
        world.delivered()
    assert 50 < world.now <= 100


def test_waits_grow_to_their_limit_and_begin_anew_with_the_next_event():
    world = World(list(completed_run()), [("refuse",)] * 6 + [("cut", 500)] + [("refuse",)] * 2)
    assert world.delivered() == world.expected()
    assert world.pauses == [1, 2, 4, 8, 8, 8, 1, 2, 4]


def test_waits_are_as_long_as_the_server_wants():
    world = World(list(completed_run()), [("reply", 503, {"retry-after": "20"}, b""), ("retry",)])
    assert world.delivered() == world.expected()
    assert world.pauses == [20, 4]


def test_a_stream_that_lasts_is_alive_though_its_run_waits_in_silence():
    world = World(list(completed_run()), [("slowly",)] * 500)
    assert world.delivered() == world.expected()
    assert world.now > 500


@pytest.mark.parametrize("fault", ["slowly noticed, foreign", "slowly lose"])
def test_a_stream_that_lasts_and_ends_in_what_makes_no_sense_is_no_sign_of_life(fault):
    world = World(list(completed_run()), [(fault,)] * 500, chunk_bytes=100, log_lacks={1})
    with pytest.raises(UnexpectedAnswer):
        world.delivered()
    assert 50 < world.now < 110


def test_a_log_that_has_nothing_but_notices_lacks_the_events():
    world = World(list(completed_run()))
    flow = world.following().events()
    flow.send(None)
    flow.send(Reply(status=200, headers=STREAM_HEADERS))
    flow.send(b"id: 5\nevent: turn.started\ndata: {}\n\n")
    assert isinstance(flow.send(None), Call)
    notice = {"type": "run.queued", "data": {"position": 1, "ahead": 1}, "seq": None}
    assert isinstance(flow.send(Reply(status=200, headers={}, body=json.dumps({"events": [notice]}).encode())), Deliver)
    assert isinstance(flow.send(None), Pause)


def test_messages_without_end_are_garbage():
    world = World(list(completed_run()))
    flow = world.following().events()
    flow.send(None)
    flow.send(Reply(status=200, headers=STREAM_HEADERS))
    effect = None
    for _ in range(70):
        effect = flow.send(b"x" * 2**20)
        if not isinstance(effect, Read):
            break
    assert isinstance(effect, Close)
    assert isinstance(flow.send(None), Pause)
