from collections import Counter
from dataclasses import replace

from test_event_log import stored_run
from thinkpool_pipeline.events import StoredEvent, encode
from thinkpool_pipeline.values import RunId, Seq
from thinkpool_server.projections.responses import NOTHING, Ending, ResponseProjection, response_head
from thinkpool_server.projections.webhook_events import event_body, event_id
from thinkpool_server.testing.generated_runs import generated_run


def test_an_ending_is_told_as_the_whole_response_tells_it() -> None:
    seen: Counter[str | None] = Counter()
    head = response_head(stored_run().record, "builtin")
    for seed in range(300):
        events = [
            StoredEvent(seq=Seq(seq), type=event.type, data=encode(event), at=1.0)
            for seq, event in enumerate(generated_run(seed), start=1)
        ]
        response, ending, piecemeal = ResponseProjection(head, starting_after=NOTHING), Ending(), Ending()
        response.add(events)
        ending.add(events)
        for event in events:
            assert piecemeal.status is None
            piecemeal.add([event])
        assert ending.status == piecemeal.status == response.response()["status"]
        seen[ending.status] += 1
    assert seen.keys() >= {"completed", "failed", "cancelled"}


def test_an_event_is_the_same_each_time_and_another_for_a_run_made_anew() -> None:
    ending = Ending()
    record = replace(stored_run(RunId("run_x")).record, created_at=7.0015, finished_at=9.5)
    assert event_body(record, ending) == event_body(replace(record), ending)
    assert event_id(record) == "evt_x_7001"
    assert event_id(replace(record, created_at=8.0)) != event_id(record)
