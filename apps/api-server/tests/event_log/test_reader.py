import asyncio

from thinkpool_pipeline.events import RunQueued, StoredEvent, encode
from thinkpool_pipeline.values import RunId, Seq
from thinkpool_server.event_log.reader import FollowingReader
from thinkpool_server.event_log.topic import Topic

RUN = RunId("run_a")


class QuietLog:
    """A log with one live run and nothing new of it; counts how often it is looked at."""

    is_draining = False

    def __init__(self) -> None:
        self.topic = Topic()
        self.looks = 0

    async def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        self.looks += 1
        return ()

    async def is_live(self, run_id: RunId) -> bool:
        return True

    def open_topic(self, run_id: RunId) -> Topic:
        return self.topic

    def close_topic(self, run_id: RunId, topic: Topic) -> None:
        pass


def timers() -> list[asyncio.TimerHandle]:
    return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]


async def test_a_reader_without_news_sleeps_until_it_is_woken() -> None:
    """Defect 21: every stream looked for news ten times a second."""
    log = QuietLog()
    before = timers()
    async with FollowingReader(log, RUN, after=Seq(1), on_leave=lambda: None) as reader:
        coming = asyncio.ensure_future(anext(reader))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (log.looks, timers()) == (1, before)
        told = RunQueued(position=1, ahead=1, estimated_start_seconds=None)
        log.topic.publish((StoredEvent(seq=Seq(2), type=told.type, data=encode(told), at=0.0),))
        (event,) = await coming
        assert (event.seq, log.looks) == (2, 1)
