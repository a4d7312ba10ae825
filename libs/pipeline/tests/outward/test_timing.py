import asyncio
import selectors
from collections.abc import Awaitable, Callable

import pytest
from thinkpool_pipeline.outward import DeadlinePassed
from thinkpool_pipeline.outward.timing import Watch


class SkippingSelector(selectors.DefaultSelector):
    """Does not wait for timers: lets their time pass at once."""

    passed_seconds = 0.0

    def select(self, timeout: float | None = None):
        self.passed_seconds += timeout or 0.0
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """Its time is made of its timers alone, so that seconds are exact and take none."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed_seconds


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(test())


def now() -> float:
    return asyncio.get_running_loop().time()


async def forever() -> None:
    await asyncio.Event().wait()


async def pass_time(seconds: float) -> None:
    """Lets the loop's time go by, which takes none of ours."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()


def watch(*, total_seconds: float, idle_seconds: float) -> Watch:
    return Watch(deadline=now() + total_seconds, total_seconds=total_seconds, idle_seconds=idle_seconds)


@pytest.mark.parametrize(("total_seconds", "idle_seconds", "is_idle"), [(9, 2, True), (2, 9, False)])
def test_silence_and_deadline_are_told_apart(total_seconds, idle_seconds, is_idle):
    async def test() -> None:
        with pytest.raises(DeadlinePassed, match="2 s") as passed:
            async with watch(total_seconds=total_seconds, idle_seconds=idle_seconds):
                await forever()
        assert passed.value.is_idle is is_idle
        assert now() == pytest.approx(2)

    run(test)


def test_signs_of_life_put_silence_off_but_not_the_deadline():
    async def drip(watched: Watch) -> None:
        while True:
            await pass_time(1.5)
            watched.heard()

    async def test() -> None:
        with pytest.raises(DeadlinePassed) as passed:
            async with watch(total_seconds=60, idle_seconds=2) as watched:
                await drip(watched)
        assert not passed.value.is_idle
        assert now() == pytest.approx(60)

    run(test)


def test_silence_counts_from_the_last_sign_of_life():
    async def one_sign(watched: Watch) -> None:
        await pass_time(1.5)
        watched.heard()
        await forever()

    async def test() -> None:
        with pytest.raises(DeadlinePassed) as passed:
            async with watch(total_seconds=60, idle_seconds=2) as watched:
                await one_sign(watched)
        assert passed.value.is_idle
        assert now() == pytest.approx(3.5)

    run(test)


def test_silence_noticed_after_the_deadline_changes_nothing():
    async def slow_to_clean_up() -> None:
        try:
            await forever()
        finally:
            await pass_time(10)

    async def test() -> None:
        with pytest.raises(DeadlinePassed) as passed:
            async with watch(total_seconds=1, idle_seconds=2):
                await slow_to_clean_up()
        assert not passed.value.is_idle

    run(test)


def test_errors_and_cancellation_pass_through():
    async def test() -> None:
        with pytest.raises(KeyError):
            async with watch(total_seconds=5, idle_seconds=5):
                raise KeyError
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), watch(total_seconds=5, idle_seconds=5):
                await forever()

    run(test)
