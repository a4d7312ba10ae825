"""Several replicas, each a real process, on one queue: the limits, the spread, the fairness, a death, a hand-over."""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("replica_program.py")
THREE = ("r1", "r2", "r3")


@dataclass(slots=True)
class Execution:
    """One start of a run; times are the machine's monotonic clock's."""

    run_id: str
    replica: str
    started_at: float
    ended_at: float | None = None

    @property
    def tenant(self) -> str:
        return self.run_id[0]


@dataclass(slots=True)
class Replica:
    """One process."""

    name: str
    process: asyncio.subprocess.Process
    answers: "asyncio.Queue[list[Any]]" = field(default_factory=asyncio.Queue)

    def tell(self, *order: str) -> None:
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write((json.dumps(order) + "\n").encode())

    async def ask(self, *order: str) -> list[Any]:
        self.tell(*order)
        return await self.answer()

    async def answer(self) -> list[Any]:
        async with asyncio.timeout(30):
            return await self.answers.get()

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(30):
            assert await self.process.wait() == 0

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(30):
            await self.process.wait()


@dataclass(slots=True)
class Cluster:
    """Replicas that wake each other through the test, which sees every start and every end."""

    replicas: dict[str, Replica] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def executing(self) -> list[Execution]:
        """Oldest first."""
        return [execution for execution in self.executions if execution.ended_at is None]

    def most_at_once(self) -> int:
        """Of all that executed."""
        moments = [(execution.started_at, 1) for execution in self.executions]
        moments += [(execution.ended_at, -1) for execution in self.executions if execution.ended_at is not None]
        count = most = 0
        for _, change in sorted(moments):
            count += change
            most = max(most, count)
        return most

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._moved:
            await self._moved.wait_for(is_so)

    async def until_started(self, count: int) -> None:
        """Returns when so many starts have been seen in all."""
        await self.until(lambda: len(self.executions) >= count)

    async def end(self, execution: Execution) -> None:
        self.replicas[execution.replica].tell("end", execution.run_id)
        await self.until(lambda: execution.ended_at is not None)

    async def end_all(self) -> None:
        """Ends what executes, until nothing does."""
        while executing := self.executing:
            for execution in executing:
                await self.end(execution)

    async def listen(self, replica: Replica) -> None:
        assert replica.process.stdout is not None
        async for line in replica.process.stdout:
            news, *words = json.loads(line)
            if news == "announce":
                for other in self.replicas.values():
                    if other is not replica:
                        other.tell("wake")
            elif news in ("start", "end"):
                await self._note(news, words[0], replica.name, words[1])
            else:
                replica.answers.put_nowait([news, *words])
        async with self._moved:
            now = time.monotonic()
            for execution in self.executing:
                if execution.replica == replica.name:
                    execution.ended_at = now
            self._moved.notify_all()

    async def _note(self, news: str, run_id: str, replica: str, moment: float) -> None:
        async with self._moved:
            if news == "start":
                self.executions.append(Execution(run_id, replica, moment))
            else:
                (execution,) = (one for one in self.executing if (one.run_id, one.replica) == (run_id, replica))
                execution.ended_at = moment
            self._moved.notify_all()


@asynccontextmanager
async def open_cluster(
    database: Path | str, *, limits: tuple[int, int, int] = (6, 6, 6), names: Sequence[str] = THREE
) -> AsyncGenerator[Cluster]:
    """Replicas that start all at once, with limits in the deployment, in each of them, and per tenant."""
    cluster = Cluster()
    async with asyncio.TaskGroup() as tasks:
        for name in names:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                PROGRAM,
                str(database),
                name,
                str(len(names)),
                *map(str, limits),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            cluster.replicas[name] = Replica(name, process)
            tasks.create_task(cluster.listen(cluster.replicas[name]))
        try:
            for replica in cluster.replicas.values():
                assert await replica.answer() == ["ready"]
            yield cluster
            for replica in cluster.replicas.values():
                if replica.process.returncode is None:
                    await replica.close()
        finally:
            for replica in cluster.replicas.values():
                if replica.process.returncode is None:
                    await replica.kill()


async def test_replicas_that_start_at_once_on_an_empty_database_share_its_limit_evenly(database_url: str) -> None:
    async with open_cluster(database_url) as cluster:
        for rank in range(1, 61):
            cluster.replicas["r1"].tell("submit", f"a{rank}", "a", str(rank))
        for count in range(6, 61, 6):
            await cluster.until_started(count)
            assert len((await cluster.replicas["r1"].ask("look"))[1]) == 60 - count + 6
            async with asyncio.TaskGroup() as tasks:
                for execution in cluster.executing:
                    tasks.create_task(cluster.end(execution))
        assert cluster.most_at_once() == 6
        assert {execution.run_id for execution in cluster.executions} == {f"a{rank}" for rank in range(1, 61)}
        assert len(cluster.executions) == 60
        spread = Counter(execution.replica for execution in cluster.executions)
        assert all(0.6 * 20 <= spread[name] <= 1.4 * 20 for name in THREE), spread


async def test_what_a_killed_replica_executed_goes_on_elsewhere_and_nothing_executes_twice(
    shared_database: str,
) -> None:
    async with open_cluster(shared_database) as cluster:
        for rank in range(1, 13):
            cluster.replicas["r1"].tell("submit", f"a{rank}", "a", str(rank))
        await cluster.until_started(6)
        torn = {execution.run_id for execution in cluster.executing if execution.replica == "r2"}
        assert torn
        await cluster.replicas["r2"].kill()
        await cluster.until(lambda: len(cluster.executing) == 6 - len(torn))
        assert (await cluster.replicas["r1"].ask("look"))[2] == ["r1", "r2", "r3"]
        first, second = await asyncio.gather(*(cluster.replicas[name].ask("requeue", "r2") for name in ("r1", "r3")))
        assert sorted(first[1] + second[1]) == sorted(torn)
        assert (await cluster.replicas["r1"].ask("requeue", "r2")) == ["requeued", []]
        await cluster.until_started(6 + len(torn))
        assert {execution.run_id for execution in cluster.executions[6:]} == torn  # they come before what waited
        await cluster.until(lambda: len(cluster.executing) == 6)
        await cluster.end_all()
        await cluster.until_started(12 + len(torn))
        await cluster.end_all()
        assert cluster.most_at_once() == 6
        starts = Counter(execution.run_id for execution in cluster.executions)
        assert starts == {f"a{rank}": 2 if f"a{rank}" in torn else 1 for rank in range(1, 13)}


async def test_a_flood_by_one_tenant_keeps_no_other_waiting(shared_database: str) -> None:
    async with open_cluster(shared_database) as cluster:
        for rank in range(1, 41):
            cluster.replicas["r1"].tell("submit", f"a{rank}", "a", str(rank))
        await cluster.until_started(6)
        for rank in range(1, 6):
            cluster.replicas["r2"].tell("submit", f"b{rank}", "b", str(rank))
            cluster.replicas["r3"].tell("submit", f"c{rank}", "c", str(rank))
        while len((await cluster.replicas["r1"].ask("look"))[1]) < 50:
            pass
        queued = Counter(a=34, b=5, c=5)
        while queued.total():
            await cluster.end(cluster.executing[0])
            executing = Counter(execution.tenant for execution in cluster.executing)
            await cluster.until_started(50 - queued.total() + 1)
            tenant = cluster.executions[-1].tenant
            assert executing[tenant] == min(executing[name] for name in queued if queued[name])
            queued[tenant] -= 1
        order = "".join(execution.tenant for execution in cluster.executions)
        assert "a" not in order[6:10]
        await cluster.end_all()


@pytest.mark.parametrize("is_handed_back", [True, False])
async def test_what_a_closing_replica_does_not_end_goes_on_elsewhere(
    shared_database: str, *, is_handed_back: bool
) -> None:
    async with open_cluster(shared_database, limits=(2, 1, 2), names=("r1", "r2")) as cluster:
        first, second = cluster.replicas.values()
        first.tell("submit", "a1", "a", "1")
        await cluster.until_started(1)
        leaving = cluster.replicas[cluster.executions[0].replica]
        staying = second if leaving is first else first
        leaving.tell("stop claiming")
        if is_handed_back:
            leaving.tell("hand back", "a1")  # and it stays, for others of its runs
        else:
            await leaving.close()
        await cluster.until_started(2)
        assert (cluster.executions[1].run_id, cluster.executions[1].replica) == ("a1", staying.name)
        assert await staying.ask("look") == ["seen", ["a1"], [staying.name]]
        await cluster.end_all()


async def test_what_a_killed_process_executed_goes_on_after_the_next_start(tmp_path: Path) -> None:
    limits = (2, 2, 2)
    async with open_cluster(tmp_path / "runs.db", limits=limits, names=("local",)) as cluster:
        for rank in range(1, 4):
            cluster.replicas["local"].tell("submit", f"a{rank}", "a", str(rank))
        await cluster.until_started(2)
        await cluster.replicas["local"].kill()
    async with open_cluster(tmp_path / "runs.db", limits=limits, names=("local",)) as cluster:
        await cluster.until_started(2)
        assert {execution.run_id for execution in cluster.executions} == {"a1", "a2"}
        await cluster.end_all()
        await cluster.until_started(3)
        await cluster.end_all()
