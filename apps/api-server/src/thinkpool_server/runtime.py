"""The composition root: the one place where concrete classes meet, and where what holds a resource is opened.

What is opened here is closed in the reverse order: no run is claimed any more, runs are handed back, the engine ends,
and only then do the clients close that the runs were using.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from thinkpool_pipeline.events import END_TYPES, RunEvent
from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.outward import Outward, Timing, open_outward
from thinkpool_pipeline.parsing import open_parser
from thinkpool_pipeline.pipeline import ResearchPipeline
from thinkpool_pipeline.pool import PipelinePool
from thinkpool_pipeline.protocols import Model

from thinkpool_server.admission import Admission
from thinkpool_server.data_directory import DataDirectory, hold_data_directory
from thinkpool_server.deployment import Deployment, open_deployment
from thinkpool_server.engine import DbosEngine, EngineLimits
from thinkpool_server.event_log import EventLog
from thinkpool_server.event_log.listener import listen
from thinkpool_server.event_log.notices import QueueMoved
from thinkpool_server.event_log.store import UnfinishedRun
from thinkpool_server.figures import FigureSources
from thinkpool_server.housekeeping import Housekeeping, keep_swept
from thinkpool_server.metrics import Metrics
from thinkpool_server.other_replicas import OtherReplicas
from thinkpool_server.run_service import EventLogRunService, ticket_of
from thinkpool_server.runs import RunRecord, Tenant
from thinkpool_server.settings import Settings
from thinkpool_server.shared_upstreams import open_shared_upstreams
from thinkpool_server.supervisor import Supervisor
from thinkpool_server.toolbox import Toolbox, make_models, open_toolbox
from thinkpool_server.webhook_rules import WebhookRules
from thinkpool_server.webhooks import Courier, Dispatch

PACKAGE = "thinkpool-server"

_CALL_SLACK_SECONDS = 5.0  # an inner deadline must pass before an outer one


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRuntime:
    """Implements `protocols.Runtime`: what the routes and the command line are given."""

    service: EventLogRunService
    settings: Settings
    metrics: Metrics
    documents: KnowledgeBase
    model_names: tuple[str, ...]
    toolbox: Toolbox
    version: str
    log: EventLog
    engine: DbosEngine
    lost: asyncio.Event
    """Set when the other replicas took this one for dead: it has to end."""
    loop: asyncio.AbstractEventLoop

    def drain(self) -> None:
        """Takes no new run, claims none, lets the readers go; what executes stops at its next step.

        May be called from a signal handler.
        """
        self.loop.call_soon_threadsafe(self.engine.stop_claiming)
        self.loop.call_soon_threadsafe(self.log.drain)


@asynccontextmanager
async def build_runtime(settings: Settings, *, url: str | None = None) -> AsyncGenerator[ServerRuntime]:
    """A whole server without its routes, for as long as the block lasts.

    `url` is where it will serve, for those who ask who holds the data directory.

    Raises:
        ConfigurationError: another process holds the data directory, or it cannot be used.

    """
    async with AsyncExitStack() as stack:
        lost, ended = asyncio.Event(), asyncio.Event()
        directory = stack.enter_context(hold_data_directory(settings.data_dir, url=url))
        deployment = await stack.enter_async_context(open_deployment(settings, directory, on_lost=lost.set))
        means = await stack.enter_async_context(_open_means(settings, directory, deployment))
        models = make_models(settings, means.outward)
        metrics = Metrics(settings.metrics_namespace, means.toolbox.tool_names())
        log = await stack.enter_async_context(_open_log(deployment, metrics, ended))
        pool = await stack.enter_async_context(_make_pool(settings, models, means.toolbox))
        runs = await stack.enter_async_context(_open_runs(settings, deployment, means, log, pool))
        runtime = ServerRuntime(
            service=runs.service,
            settings=settings,
            metrics=metrics,
            documents=means.knowledge,
            model_names=tuple(models),
            toolbox=means.toolbox,
            version=version(PACKAGE),
            log=log,
            engine=runs.engine,
            lost=lost,
            loop=asyncio.get_running_loop(),
        )
        stack.push_async_callback(_hand_back, runtime, runs.supervisor)
        if deployment.membership is None:
            await runs.service.recover(runs.unfinished)
        work = [
            runs.service.feed(),
            _housekeeping(runtime).run(),
            keep_swept(log, means.toolbox.sweep),
            *_among_others(runtime, runs, deployment),
        ]
        if settings.webhook_secrets:
            work.append(_dispatch(settings, log, means.outward, metrics, ended).run())
        await stack.enter_async_context(_in_background(*work))
        yield runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    """What pipelines work with."""

    outward: Outward
    knowledge: KnowledgeBase
    toolbox: Toolbox


@asynccontextmanager
async def _open_means(settings: Settings, directory: DataDirectory, deployment: Deployment) -> AsyncGenerator[_Means]:
    async with AsyncExitStack() as stack:
        shared = None
        if deployment.membership is not None:
            opening = open_shared_upstreams(str(deployment.database), lambda: deployment.replicas)
            shared = await stack.enter_async_context(opening)
        outward = await stack.enter_async_context(open_outward(shared=shared, permit=deployment.lease.confirmed))
        parser = await stack.enter_async_context(open_parser())
        documents = KnowledgeBase(knowledge_directory(settings), directory.knowledge_index, parser=parser)
        knowledge = await stack.enter_async_context(documents)
        opening = open_toolbox(settings, outward, knowledge, parser, deployment=deployment.name)
        toolbox = await stack.enter_async_context(opening)
        yield _Means(outward=outward, knowledge=knowledge, toolbox=toolbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """What takes runs in and works on them."""

    admission: Admission
    supervisor: Supervisor
    engine: DbosEngine
    service: EventLogRunService
    unfinished: Sequence[UnfinishedRun]
    """Of before the start."""


@asynccontextmanager
async def _open_runs(
    settings: Settings, deployment: Deployment, means: _Means, log: EventLog, pool: PipelinePool
) -> AsyncGenerator[_Runs]:
    unfinished = await log.unfinished()
    admission = await _restore_admission(settings, deployment, log, unfinished)
    supervisor = Supervisor(log, pool, admission, replica=deployment.executor)
    figures = FigureSources(
        deployment=deployment,
        log=log,
        pool=pool,
        admission=admission,
        supervisor=supervisor,
        outward=means.outward,
        knowledge=means.knowledge,
        toolbox=means.toolbox,
        queue_limit=settings.max_queued_requests,
        slots=settings.max_concurrent_requests,
    )
    async with DbosEngine(
        deployment.database,
        supervisor.execute,
        _limits(settings),
        executor=deployment.executor,
        replicas=lambda: deployment.replicas,
        announce=_announcer(log),
    ) as engine:
        service = EventLogRunService(
            log,
            engine,
            supervisor,
            admission,
            disconnect_grace_seconds=settings.disconnect_grace_seconds,
            has_others=deployment.membership is not None,
            statistics=figures.gather,
            webhook_tenants=frozenset(_webhook_urls(settings)),
        )
        yield _Runs(admission=admission, supervisor=supervisor, engine=engine, service=service, unfinished=unfinished)


def _among_others(runtime: ServerRuntime, runs: _Runs, deployment: Deployment) -> Generator[Coroutine[Any, Any, None]]:
    """What a replica of several does besides; nothing for a process that is alone."""
    if deployment.membership is None:
        return
    others = OtherReplicas(
        deployment.membership,
        runtime.log,
        runs.engine,
        runs.admission,
        runs.supervisor,
        runs.service,
        max_slots=runtime.settings.max_concurrent_requests,
    )
    yield others.watch()
    yield listen(str(deployment.database), deployment.executor, on_notice=others.note, on_gap=others.note_gap)
    yield _abandon_when(runtime.lost, runs.supervisor)


async def _restore_admission(
    settings: Settings, deployment: Deployment, log: EventLog, unfinished: Sequence[UnfinishedRun]
) -> Admission:
    admission = Admission(
        slots=min(settings.pipeline_pool_size, settings.max_concurrent_requests),
        max_queued=settings.max_queued_requests,
        tenants={Tenant(key.tenant) for key in settings.server_api_keys},
        last_arrival=await log.last_arrival(),
        clock=log.now,
    )
    for run in unfinished:
        admission.readmit(ticket_of(run))
        if deployment.membership is not None and run.status == "running":
            admission.start(run.run_id)
    return admission


async def _hand_back(runtime: ServerRuntime, supervisor: Supervisor) -> None:
    runtime.engine.stop_claiming()
    runtime.log.drain()
    # The grace began with the signal, and requests that were on their way have had their part of it.
    await supervisor.drain(max(0.0, runtime.settings.shutdown_grace_seconds - runtime.log.draining_seconds))


def _announcer(log: EventLog) -> Callable[[], None]:
    """Tells the other replicas that the queue moved, once however often it did since they were last told."""
    loop = asyncio.get_running_loop()
    is_due = False

    def tell() -> None:
        nonlocal is_due
        is_due = False
        log.tell_others(QueueMoved())

    def announce() -> None:
        nonlocal is_due
        if not is_due:
            is_due = True
            loop.call_soon_threadsafe(tell)

    return announce


async def _abandon_when(lost: asyncio.Event, supervisor: Supervisor) -> None:
    await lost.wait()
    supervisor.abandon()


def _webhook_urls(settings: Settings) -> dict[Tenant, str]:
    return {Tenant(webhook.tenant): webhook.url.get_secret_value() for webhook in settings.webhooks}


def _dispatch(
    settings: Settings,
    log: EventLog,
    outward: Outward,
    metrics: Metrics,
    ended: asyncio.Event,
) -> Dispatch:
    timing = Timing(wall_clock=log.now)
    rules = WebhookRules.of(settings)
    courier = Courier(log, outward, rules, _webhook_urls(settings), count=metrics.observe_webhook, timing=timing)
    return Dispatch(log, courier, wake=ended, timing=timing)


def _housekeeping(runtime: ServerRuntime) -> Housekeeping:
    return Housekeeping(
        runtime.service,
        runtime.log,
        runtime.engine,
        queue_timeout_seconds=runtime.settings.queue_timeout_seconds,
        retention_seconds=runtime.settings.run_retention_hours * 3600,
    )


@asynccontextmanager
async def _open_log(deployment: Deployment, metrics: Metrics, ended: asyncio.Event) -> AsyncGenerator[EventLog]:
    """The log; `ended` is set whenever a run ends here."""

    def observe(record: RunRecord, event: RunEvent) -> None:
        if event.type in END_TYPES:
            ended.set()
        metrics.observe(event, since_submit_seconds=max(0.0, deployment.store.now() - record.created_at))

    log = EventLog(deployment.store, lease=deployment.lease, observe=observe)
    try:
        async with _in_background(log.run()):
            yield log
    finally:
        log.close()


def _make_pool(settings: Settings, models: Mapping[str, Model], toolbox: Toolbox) -> PipelinePool:
    loop_settings = LoopSettings(
        context_tokens=settings.model_context_tokens,
        max_history_tokens=settings.max_history_tokens,
        keep_tool_results=settings.keep_tool_results,
        tool_parallelism=settings.tool_parallelism,
        call_timeout_seconds=max(settings.model_total_seconds, settings.tool_timeout_seconds) + _CALL_SLACK_SECONDS,
        subtopic_share=settings.subtopic_budget_share if settings.research_subtopics else 0.0,
        secrets=tuple(settings.secrets),
    )

    async def make(number: int) -> ResearchPipeline:
        await toolbox.settled()  # or the first question would be told of no web
        return ResearchPipeline(number, models, settings.model_name, toolbox.open_manager(), loop_settings)

    return PipelinePool(make, settings.pipeline_pool_size, max_runs=settings.pipeline_max_runs)


def knowledge_directory(settings: Settings) -> Path:
    """The documents that runs may search: the operator's, else the project's own."""
    return settings.knowledge_dir or Path(str(files("thinkpool_server") / "docs"))


def _limits(settings: Settings) -> EngineLimits:
    return EngineLimits(
        in_deployment=settings.max_concurrent_requests,
        in_replica=settings.pipeline_pool_size,
        per_tenant=settings.max_runs_per_tenant or settings.max_concurrent_requests,
    )


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Runs what never ends by itself beside the block. A fault in it ends the block: nothing fails unseen."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
