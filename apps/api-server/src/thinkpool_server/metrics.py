"""What Prometheus reads: counted as runs, tools and requests go by, or looked up in the service's figures when asked.

One registry an app, so that two apps in a process do not mix. Seconds and bytes only; every label's values form a
closed set, whatever clients, models and pages say.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from thinkpool_pipeline import errors
from thinkpool_pipeline.events import (
    EVENT_TYPES,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    RunStarted,
    SourceFound,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from thinkpool_pipeline.values import Usage

from thinkpool_server.service_statistics import ServiceStatistics, UpstreamFigures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Source: https://prometheus.io/docs/instrumenting/exposition_formats/"""

OTHER = "other"
"""The label of what no closed set holds."""

_RUN_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_WAIT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
_TOOL_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
_LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


def _codes(root: type[errors.PipelineError]) -> Iterator[str]:
    yield root.code
    for branch in root.__subclasses__():
        yield from _codes(branch)


class Metrics:
    """One app's metrics."""

    def __init__(self, namespace: str, tool_names: Iterable[str] = (), routes: Iterable[str] = ()) -> None:
        """Counts from zero.

        `tool_names` and `routes` close the sets of those labels; what is not in them counts as `other`.
        """
        self._registry = CollectorRegistry()
        self._namespace = namespace
        self._tools = frozenset(tool_names)
        self._routes = frozenset(routes)
        self._error_codes = frozenset(_codes(errors.PipelineError)) | {"queue-timeout"}
        ProcessCollector(registry=self._registry)

        self._requests = self._counter("requests", "HTTP requests answered.", "route", "method", "status")
        self._events = self._counter("events", "Events appended to run logs.", "type")
        self._event_counts = {name: self._events.labels(type=name) for name in EVENT_TYPES}
        self._runs = self._counter("runs", "Runs ended.", "outcome")
        for outcome in ("completed", "failed", "cancelled"):
            self._runs.labels(outcome=outcome)
        self._failures = self._counter("run_failures", "Runs failed.", "code")
        self._turns = self._counter("turns", "Model turns recorded.")
        self._tokens = self._counter("tokens", "Tokens of ended runs, as the provider counted them.", "kind")
        self._webhooks = self._counter("webhook_deliveries", "Webhooks that need no more attempts.", "outcome")
        for outcome in ("delivered", "gone", "given_up"):
            self._webhooks.labels(outcome=outcome)
        self._tool_errors = self._counter("tool_errors", "Tool calls that failed.", "tool", "code")
        self._tool_seconds = self._histogram("tool_duration_seconds", "Tool calls.", _TOOL_BUCKETS, "tool")
        self._wait_seconds = self._histogram("queue_wait_seconds", "From acceptance to the first start.", _WAIT_BUCKETS)
        self._run_seconds = self._histogram("run_duration_seconds", "From acceptance to the end.", _RUN_BUCKETS)
        self._first_event_seconds = self._histogram(
            "time_to_first_event_seconds", "From acceptance to the first event.", _WAIT_BUCKETS
        )
        self._first_source_seconds = self._histogram(
            "time_to_first_source_seconds", "From acceptance to the first source.", _RUN_BUCKETS
        )
        self._report_seconds = self._histogram(
            "time_to_report_seconds", "From acceptance to the turn that writes the report.", _RUN_BUCKETS
        )
        self._loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop's timers fire.", _LAG_BUCKETS
        )
        self._observers: dict[type[RunEvent], Callable[[RunEvent, float], None]] = {
            RunQueued: lambda _event, seconds: self._first_event_seconds.observe(seconds),
            RunStarted: self._observe_start,
            TurnStarted: self._observe_turn_start,
            TurnFinished: lambda _event, _seconds: self._turns.inc(),
            ToolFinished: self._observe_tool,
            SourceFound: self._observe_source,
            RunCompleted: self._observe_end,
            RunFailed: self._observe_end,
            RunCancelled: self._observe_end,
        }

    def observe(self, event: RunEvent, *, since_submit_seconds: float) -> None:
        """Counts one event that was appended to a run's log, this long after the run was accepted."""
        self._event_counts[event.type].inc()
        observer = self._observers.get(type(event))
        if observer is not None:
            observer(event, since_submit_seconds)

    def observe_request(self, *, route: str, method: str, status: int) -> None:
        """Counts one answered HTTP request; `route` is the route's template."""
        self._requests.labels(
            route=route if route in self._routes else OTHER,
            method=method if method in _METHODS else OTHER,
            status=f"{status // 100}xx",
        ).inc()

    def observe_webhook(self, outcome: Literal["delivered", "gone", "given_up"]) -> None:
        """Counts a webhook that was delivered, or will not be."""
        self._webhooks.labels(outcome=outcome).inc()

    def observe_loop_lag(self, seconds: float) -> None:
        """Notes how late a timer of the event loop fired."""
        self._loop_lag_seconds.observe(seconds)

    def render(self, statistics: ServiceStatistics) -> bytes:
        """Everything, in Prometheus' text format."""
        figures = CollectorRegistry()
        figures.register(_Figures(self._namespace, statistics))
        return generate_latest(figures) + generate_latest(self._registry)

    def close_routes(self, routes: Iterable[str]) -> None:
        """Sets which templates the `route` label may hold: the app knows them once it is built."""
        self._routes = frozenset(routes)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=self._namespace, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace=self._namespace, registry=self._registry, buckets=buckets)

    def _observe_start(self, event: RunEvent, seconds: float) -> None:
        if cast("RunStarted", event).attempt == 1:
            self._wait_seconds.observe(seconds)

    def _observe_turn_start(self, event: RunEvent, seconds: float) -> None:
        if cast("TurnStarted", event).purpose == "report":
            self._report_seconds.observe(seconds)

    def _observe_source(self, event: RunEvent, seconds: float) -> None:
        if cast("SourceFound", event).source_id == 1:
            self._first_source_seconds.observe(seconds)

    def _observe_tool(self, event: RunEvent, _seconds: float) -> None:
        finished = cast("ToolFinished", event)
        tool = finished.name if finished.name in self._tools else OTHER
        self._tool_seconds.labels(tool=tool).observe(finished.duration_seconds)
        if not finished.ok:
            self._tool_errors.labels(tool=tool, code=self._known_code(finished.error)).inc()

    def _observe_end(self, event: RunEvent, seconds: float) -> None:
        ended = cast("RunCompleted | RunFailed | RunCancelled", event)
        self._runs.labels(outcome=ended.type.removeprefix("run.")).inc()
        self._run_seconds.observe(seconds)
        self._count_tokens(ended.usage)
        if isinstance(ended, RunFailed):
            self._failures.labels(code=self._known_code(ended.code)).inc()

    def _count_tokens(self, usage: Usage) -> None:
        for kind, tokens in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("reasoning", usage.reasoning_tokens),
            ("cached", usage.cached_tokens),
        ):
            self._tokens.labels(kind=kind).inc(tokens)

    def _known_code(self, code: str | None) -> str:
        return code if code in self._error_codes else OTHER


class _Figures(Collector):
    """The service's figures as metrics."""

    def __init__(self, namespace: str, statistics: ServiceStatistics) -> None:
        self._namespace = namespace
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        yield from self._of_runs(self._statistics)
        yield from self._of_pool(self._statistics)
        yield from self._of_upstreams(self._statistics.upstreams)

    def _of_runs(self, figures: ServiceStatistics) -> Iterator[Metric]:
        yield self._gauge("active_requests", "Runs executing in this replica.", figures.active_runs)
        yield self._gauge("queued_runs", "Runs waiting in the whole deployment.", figures.queued_runs)
        yield self._gauge("queue_limit", "Runs that may wait; beyond them, requests are refused.", figures.queue_limit)
        yield self._gauge("limiter_held", "Slots of the global limit in use.", figures.limiter.held)
        yield self._gauge("limiter_limit", "Slots of the global limit.", figures.limiter.total)
        yield self._gauge("replicas", "Processes that serve the deployment, as this one sees it.", figures.replicas)
        yield self._gauge("database_reachable", "1 while the database answers this replica.", figures.is_database_ok)
        yield self._gauge("open_streams", "Readers of runs.", figures.open_streams)
        yield self._gauge(
            "event_log_lag_seconds", "Age of the oldest event not committed.", figures.event_log_lag_seconds
        )
        yield self._count("resumed_runs", "Runs taken up again after a restart.", figures.resumed_runs)
        yield self._count("repeated_steps", "Steps begun again that were left half done.", figures.repeated_steps)

    def _of_pool(self, figures: ServiceStatistics) -> Iterator[Metric]:
        pool = figures.pool
        yield self._gauge(
            "pool_usage", "Part of the pool that works on runs, 0 to 1.", pool.in_use / pool.size if pool.size else 0
        )
        states = GaugeMetricFamily(f"{self._namespace}_pool_pipelines", "Pipelines by state.", labels=["state"])
        for state, count in (("idle", pool.idle), ("in_use", pool.in_use), ("broken", pool.broken)):
            states.add_metric([state], count)
        yield states
        yield self._gauge("pool_waiting", "Runs waiting for a pipeline of this replica.", pool.waiting)
        yield self._count("pool_replacements", "Pipelines replaced.", pool.replaced)

    def _of_upstreams(self, upstreams: tuple[UpstreamFigures, ...]) -> Iterator[Metric]:
        counters: tuple[tuple[str, str, Callable[[UpstreamFigures], int]], ...] = (
            ("upstream_requests", "Attempts sent.", lambda upstream: upstream.requests),
            ("upstream_rate_limited", "Attempts answered with 429.", lambda upstream: upstream.rate_limited),
            ("upstream_retries", "Attempts after the first.", lambda upstream: upstream.retries),
            ("upstream_cache_hits", "Calls answered from the cache.", lambda upstream: upstream.cache_hits),
            ("upstream_cache_misses", "Calls the cache had no answer to.", lambda upstream: upstream.cache_misses),
        )
        gauges: tuple[tuple[str, str, Callable[[UpstreamFigures], int]], ...] = (
            ("upstream_in_flight", "Attempts that are out.", lambda upstream: upstream.in_flight),
            ("upstream_waiting", "Attempts that wait for a place.", lambda upstream: upstream.waiting),
            ("upstream_breaker_open", "1 while calls are refused unsent.", lambda upstream: upstream.is_breaker_open),
        )
        for kind, figures in ((CounterMetricFamily, counters), (GaugeMetricFamily, gauges)):
            for name, text, figure in figures:
                family = kind(f"{self._namespace}_{name}", text, labels=["upstream"])
                for upstream in upstreams:
                    family.add_metric([upstream.name], figure(upstream))
                yield family
        yield self._upstream_errors(upstreams)
        yield self._upstream_keys(upstreams)

    def _upstream_errors(self, upstreams: tuple[UpstreamFigures, ...]) -> Metric:
        name = f"{self._namespace}_upstream_errors"
        errors = CounterMetricFamily(name, "Attempts failed.", labels=["upstream", "kind"])
        for upstream in upstreams:
            for kind, count in upstream.errors.items():
                errors.add_metric([upstream.name, kind], count)
        return errors

    def _upstream_keys(self, upstreams: tuple[UpstreamFigures, ...]) -> Metric:
        name = f"{self._namespace}_upstream_keys"
        keys = GaugeMetricFamily(name, "Keys by state: in use, or refused and at rest.", labels=["upstream", "state"])
        for upstream in upstreams:
            keys.add_metric([upstream.name, "in_use"], upstream.keys - upstream.keys_resting)
            keys.add_metric([upstream.name, "resting"], upstream.keys_resting)
        return keys

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._namespace}_{name}", text, value=value)

    def _count(self, name: str, text: str, value: float) -> CounterMetricFamily:
        return CounterMetricFamily(f"{self._namespace}_{name}", text, value=value)
