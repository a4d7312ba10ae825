"""The pool: who gets a pipeline, what becomes of it afterwards, and that nothing leaks at any await."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.errors import ConfigurationError, ModelUnavailable, PipelineError, ShuttingDown
from thinkpool_pipeline.pool import PipelinePool
from thinkpool_pipeline.protocols import Journal
from thinkpool_pipeline.testing import Gate
from thinkpool_pipeline.values import Answer, Question


@dataclass(eq=False)
class Worker:
    """A pipeline that does nothing and says what became of it."""

    number: int
    model_name: str = "m"
    health: "Callable[[], bool]" = lambda: True
    check_gate: Gate | None = None
    close_error: Exception | None = None
    is_closed: bool = False
    closed_by: "asyncio.Task[object] | None" = None

    async def run(self, question: Question, journal: Journal) -> Answer:
        return Answer(report=str(self.number))

    async def is_healthy(self) -> bool:
        if self.check_gate:
            await self.check_gate.pass_through()
        return self.health()

    async def aclose(self) -> None:
        self.is_closed = True
        self.closed_by = asyncio.current_task()
        if self.close_error:
            raise self.close_error


@dataclass
class Factory:
    """Makes workers, or fails where it is told to."""

    failing: dict[int, Exception] = field(default_factory=dict)
    gate: Gate | None = None
    made: list[Worker] = field(default_factory=list)
    made_by: "dict[int, asyncio.Task[object] | None]" = field(default_factory=dict)
    prepare: Callable[[Worker], None] = lambda worker: None

    async def __call__(self, number: int) -> Worker:
        if self.gate:
            await self.gate.pass_through()
        if number in self.failing:
            raise self.failing[number]
        worker = Worker(number)
        self.prepare(worker)
        self.made.append(worker)
        self.made_by[number] = asyncio.current_task()
        return worker


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def pool_of(factory: Factory, size: int, **options: object) -> AsyncIterator[PipelinePool]:
    async with asyncio.timeout(5), PipelinePool(factory, size, **options) as pool:  # type: ignore[arg-type]
        yield pool


async def test_pipelines_are_lent_and_come_back() -> None:
    async with pool_of(Factory(), 3) as pool:
        assert repr(pool) == "<PipelinePool [0 in use, 0 idle, 0 waiting, 3 warming]>"
        await settle()
        assert repr(pool) == "<PipelinePool [0 in use, 3 idle, 0 waiting]>"
        async with pool.lend() as one, pool.lend() as two:
            assert {one.number, two.number} == {1, 2}
            assert repr(pool) == "<PipelinePool [2 in use, 1 idle, 0 waiting]>"
        await settle()
        assert repr(pool) == "<PipelinePool [0 in use, 3 idle, 0 waiting]>"
    assert pool.statistics().replaced == 0


async def test_start_does_not_wait_for_a_pipeline_and_a_run_does() -> None:
    gate = Gate()
    factory = Factory(gate=gate)
    async with pool_of(factory, 1) as pool, asyncio.TaskGroup() as group:
        run = group.create_task(borrow(pool))
        await gate.reached()
        await settle()
        assert (pool.statistics().warming, pool.statistics().waiting) == (1, 1)
        gate.open()
        assert await run == 1


async def test_who_waits_is_served_in_order() -> None:
    order: list[int] = []
    async with pool_of(Factory(), 2) as pool, asyncio.TaskGroup() as group:

        async def take(name: int) -> None:
            async with pool.lend():
                order.append(name)
                await asyncio.sleep(0)

        async with pool.lend(), pool.lend():
            for name in range(10):
                group.create_task(take(name))
            await settle()
            assert repr(pool) == "<PipelinePool [2 in use, 0 idle, 10 waiting]>"
    assert order == list(range(10))


@pytest.mark.parametrize("error", [ModelUnavailable(), PipelineError(), asyncio.CancelledError()])
async def test_a_run_that_failed_on_purpose_or_was_cancelled_leaves_its_pipeline_fit(error: BaseException) -> None:
    async with pool_of(Factory(), 1) as pool:
        with pytest.raises(type(error)):
            async with pool.lend():
                raise error
        async with pool.lend() as again:
            assert again.number == 1
    assert pool.statistics().replaced == 0


async def test_a_fault_has_the_pipeline_replaced_and_never_lent_again() -> None:
    factory = Factory()
    async with pool_of(factory, 1) as pool:
        with pytest.raises(KeyError):
            async with pool.lend():
                raise KeyError("a bug")
        async with pool.lend() as other:
            assert other.number == 2
        assert factory.made[0].is_closed
        assert pool.statistics().replaced == 1


async def test_a_pipeline_that_is_no_longer_healthy_is_replaced() -> None:
    """Defect 40: a tool server that failed was broken for the life of the pool."""
    factory = Factory()
    async with pool_of(factory, 1) as pool:
        async with pool.lend() as first:
            factory.made[0].health = lambda: False
        async with pool.lend() as second:
            assert (first.number, second.number) == (1, 2)
        assert factory.made[0].is_closed


async def test_a_health_check_that_raises_or_hangs_counts_as_failed() -> None:
    def broken() -> bool:
        raise RuntimeError("the connection is gone")

    factory = Factory()
    async with pool_of(factory, 1, check_timeout_seconds=0.02) as pool:
        async with pool.lend():
            factory.made[0].health = broken
        async with pool.lend() as second:
            assert second.number == 2
            factory.made[1].check_gate = Gate()
        async with pool.lend() as third:
            assert third.number == 3


async def test_a_pipeline_is_not_lent_again_before_it_was_checked() -> None:
    """Defect 12: a slot was lent while its last run's work still went on."""
    gate = Gate()
    factory = Factory()
    async with pool_of(factory, 1) as pool, asyncio.TaskGroup() as group:
        async with pool.lend():
            factory.made[0].check_gate = gate
        run = group.create_task(borrow(pool))
        await gate.reached()
        await settle()
        assert (pool.statistics().warming, pool.statistics().waiting, run.done()) == (1, 1, False)
        gate.open()
        assert await run == 1


async def test_a_pipeline_is_replaced_after_its_share_of_runs() -> None:
    factory = Factory()
    async with pool_of(factory, 1, max_runs=2) as pool:
        numbers = [await borrow(pool) for _ in range(5)]
    assert numbers == [1, 1, 2, 2, 3]
    assert all(worker.is_closed for worker in factory.made)


async def test_one_pipeline_that_cannot_be_made_keeps_no_other_from_working() -> None:
    pauses: list[float] = []
    gate = Gate()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await gate.pass_through()

    factory = Factory(failing={1: ConfigurationError("no tool server"), 3: RuntimeError("a bug of its own")})
    async with pool_of(factory, 2, sleep=pause) as pool:
        await settle()
        assert repr(pool) == "<PipelinePool [0 in use, 1 idle, 0 waiting, 1 broken]>"
        assert await borrow(pool) == 2
        gate.open()
        await settle()
        assert pool.statistics().idle == 2
    assert len(pauses) == 2
    assert pauses[0] < pauses[1]


async def test_a_pipeline_that_is_unhealthy_from_the_start_is_closed_and_made_again_after_a_pause() -> None:
    gate = Gate()

    async def pause(_: float) -> None:
        await gate.pass_through()

    def prepare(worker: Worker) -> None:
        worker.health = lambda: worker.number > 1

    factory = Factory(prepare=prepare)
    async with pool_of(factory, 1, sleep=pause) as pool:
        await gate.reached()
        assert pool.statistics().broken == 1
        assert factory.made[0].is_closed
        gate.open()
        assert await borrow(pool) == 2


async def test_an_idle_pipeline_is_checked_now_and_then() -> None:
    factory = Factory()
    async with pool_of(factory, 1, health_interval_seconds=0.01) as pool:
        await settle()
        assert pool.statistics().idle == 1
        gate = factory.made[0].check_gate = Gate()
        await gate.reached()
        assert (pool.statistics().idle, pool.statistics().warming) == (0, 1)
        factory.made[0].health = lambda: False
        gate.open()
        assert await borrow(pool) == 2


async def test_a_lent_pipeline_is_left_alone_by_the_checks() -> None:
    factory = Factory()
    async with pool_of(factory, 1, health_interval_seconds=0.005) as pool:
        async with pool.lend():
            gate = factory.made[0].check_gate = Gate()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await gate.reached()
        gate.open()
        assert await borrow(pool) == 1


async def test_a_pipeline_is_opened_and_closed_by_the_same_task() -> None:
    factory = Factory()
    async with pool_of(factory, 2, max_runs=1) as pool:
        for _ in range(3):
            await borrow(pool)
    assert len(factory.made) >= 4
    assert all(worker.closed_by is factory.made_by[worker.number] for worker in factory.made)


async def test_leaving_the_pool_closes_every_pipeline_and_turns_away_who_waits() -> None:
    factory = Factory()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        async with PipelinePool(factory, 1) as pool:
            await settle()
            async with pool.lend():
                waiting = group.create_task(turned_away(pool))
                await settle()
        assert await waiting
    assert factory.made[0].is_closed
    assert await turned_away(pool)


async def test_a_pipeline_given_in_the_moment_of_leaving_is_refused() -> None:
    """The pool is left n steps after a pipeline came back, for every n: who waits has it before that, or never."""
    outcomes: set[str] = set()

    async def take(pool: PipelinePool, left: list[bool]) -> str:
        try:
            async with pool.lend():
                return "too late" if left else "lent"
        except ShuttingDown:
            return "turned away"

    for steps in range(10):
        factory = Factory()
        left: list[bool] = []
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            async with PipelinePool(factory, 1) as pool:
                await settle()
                async with pool.lend():
                    waiting = group.create_task(take(pool, left))
                    await settle()
                for _ in range(steps):
                    await asyncio.sleep(0)
                left.append(True)
            outcomes.add(await waiting)
        assert factory.made[0].is_closed
    assert outcomes == {"lent", "turned away"}


async def test_a_pipeline_that_fails_to_close_is_replaced_all_the_same() -> None:
    def prepare(worker: Worker) -> None:
        worker.close_error = RuntimeError("it would not close")

    async with pool_of(Factory(prepare=prepare), 1, max_runs=1) as pool:
        assert [await borrow(pool) for _ in range(3)] == [1, 2, 3]


async def test_a_borrower_cancelled_in_the_moment_of_getting_one_passes_it_on() -> None:
    """The first of two who wait is cancelled n steps after a pipeline came back, for every n."""
    for steps in range(12):
        async with pool_of(Factory(), 1) as pool:
            async with asyncio.TaskGroup() as group:
                async with pool.lend():
                    hasty, patient = (group.create_task(borrow(pool)) for _ in range(2))
                    await settle()
                for _ in range(steps):
                    await asyncio.sleep(0)
                hasty.cancel()
                assert await patient == 1
            await settle()
            assert repr(pool) == "<PipelinePool [0 in use, 1 idle, 0 waiting]>", f"after {steps} steps"


async def test_who_gave_up_in_the_moment_of_leaving_is_not_turned_away_twice() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        async with PipelinePool(Factory(), 1) as pool:
            await settle()
            async with pool.lend():
                waiting = group.create_task(borrow(pool))
                await settle()
                waiting.cancel()
        await settle()
    assert waiting.cancelled()
    assert pool.statistics().waiting == 0


async def test_cancelling_at_any_await_leaks_nothing() -> None:
    """Three runs over one pipeline; one of them is cancelled after n steps of the event loop, for every n."""
    for steps in range(30):
        async with pool_of(Factory(), 1) as pool:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(borrow(pool, awaits=3)) for _ in range(3)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                tasks[1].cancel()
            await settle()
            assert repr(pool) == "<PipelinePool [0 in use, 1 idle, 0 waiting]>", f"after {steps} steps"
            assert tasks[0].result() == tasks[2].result() == 1
            assert pool.statistics().replaced == 0


async def test_a_hundred_who_leave_while_waiting_leave_nothing_behind() -> None:
    async with pool_of(Factory(), 2) as pool:
        async with pool.lend(), pool.lend(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(borrow(pool)) for _ in range(100)]
            await settle()
            assert pool.statistics().waiting == 100
            for task in tasks:
                task.cancel()
        await settle()
        assert repr(pool) == "<PipelinePool [0 in use, 2 idle, 0 waiting]>"


async def borrow(pool: PipelinePool, *, awaits: int = 0) -> int:
    async with pool.lend() as pipeline:
        for _ in range(awaits):
            await asyncio.sleep(0)
        return pipeline.number


async def turned_away(pool: PipelinePool) -> bool:
    try:
        async with pool.lend():
            return False
    except ShuttingDown:
        return True
