"""Gathers the figures of the server's parts into one value, for `/health`, `/ready` and `/metrics`."""

from collections.abc import Iterator
from dataclasses import dataclass

from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.outward import Outward
from thinkpool_pipeline.pool import PipelinePool
from thinkpool_pipeline.protocols import LimiterStatistics

from thinkpool_server.admission import Admission
from thinkpool_server.deployment import Deployment
from thinkpool_server.event_log import EventLog
from thinkpool_server.service_statistics import KnowledgeFigures, PoolFigures, ServiceStatistics, UpstreamFigures
from thinkpool_server.supervisor import Supervisor
from thinkpool_server.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSources:
    """The parts that have figures."""

    deployment: Deployment
    log: EventLog
    pool: PipelinePool
    admission: Admission
    supervisor: Supervisor
    outward: Outward
    knowledge: KnowledgeBase
    toolbox: Toolbox
    queue_limit: int
    slots: int
    """How many runs may execute at once in the whole deployment."""

    def gather(self) -> ServiceStatistics:
        """The figures of this moment."""
        pool = self.pool.statistics()
        index = self.knowledge.status()
        return ServiceStatistics(
            active_runs=self.supervisor.executing,
            queued_runs=self.admission.waiting,
            pool=PoolFigures(
                size=pool.size,
                idle=pool.idle,
                in_use=pool.in_use,
                waiting=pool.waiting,
                broken=pool.broken,
                replaced=pool.replaced,
            ),
            limiter=LimiterStatistics(held=self.admission.executing, waiting=self.admission.waiting, total=self.slots),
            engine=self.deployment.engine_name,
            replica=self.deployment.executor,
            queue_limit=self.queue_limit,
            replicas=self.deployment.replicas,
            open_streams=self.log.open_readers,
            event_log_lag_seconds=self.log.lag_seconds,
            resumed_runs=self.supervisor.resumed_runs,
            repeated_steps=self.supervisor.repeated_steps,
            upstreams=tuple(self._upstreams()),
            knowledge=KnowledgeFigures(
                state="ready" if index.is_ready else "indexing", documents=index.documents, passages=index.passages
            ),
            tools=self.toolbox.figures(),
            is_started=pool.idle + pool.in_use > 0,
            is_draining=self.log.is_draining,
            is_database_ok=self.log.is_writable and self.deployment.is_reachable,
        )

    def _upstreams(self) -> Iterator[UpstreamFigures]:
        for name, upstream in self.outward.statistics().items():
            yield UpstreamFigures(
                name=name,
                requests=upstream.requests,
                errors=upstream.errors,
                rate_limited=upstream.rate_limited,
                retries=upstream.retries,
                in_flight=upstream.in_flight,
                waiting=upstream.waiting,
                is_breaker_open=upstream.breaker == "open",
                keys=upstream.keys,
                keys_resting=upstream.keys_resting,
                cache_hits=upstream.cache_hits,
                cache_misses=upstream.cache_misses,
            )
