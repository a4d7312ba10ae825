import shutil
import subprocess
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from thinkpool_pipeline.events import RunCancelled, RunFailed, RunStarted, SourceFound, ToolFinished
from thinkpool_pipeline.values import SourceId, Usage
from thinkpool_server.metrics import Metrics
from thinkpool_server.service_statistics import PoolFigures, UpstreamFigures
from thinkpool_server.testing.memory_service import STATISTICS
from thinkpool_server.testing.scripts import USAGE, completed_run

BUSY = replace(
    STATISTICS,
    active_runs=3,
    queued_runs=7,
    pool=PoolFigures(size=4, idle=0, in_use=3, waiting=2, broken=1, replaced=5),
    open_streams=9,
    event_log_lag_seconds=0.25,
    resumed_runs=2,
    repeated_steps=1,
    upstreams=(
        UpstreamFigures(
            name="model",
            requests=8,
            errors={"rate_limited": 1, "unavailable": 2},
            rate_limited=1,
            retries=2,
            in_flight=4,
            waiting=5,
            is_breaker_open=True,
            cache_hits=3,
        ),
        UpstreamFigures(name="search", keys=3, keys_resting=1),
    ),
)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render(BUSY).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def filled() -> Metrics:
    metrics = Metrics("thinkpool", tool_names=("search_documents",), routes=("/health",))
    for seconds, event in enumerate(completed_run()):
        metrics.observe(event, since_submit_seconds=seconds)
    return metrics


def test_a_run_moves_its_metrics() -> None:
    found = samples(filled())
    assert found["thinkpool_runs_total", (("outcome", "completed"),)] == 1
    assert found["thinkpool_turns_total", ()] == 2
    assert found["thinkpool_tokens_total", (("kind", "input"),)] == USAGE.input_tokens
    assert found["thinkpool_tokens_total", (("kind", "output"),)] == USAGE.output_tokens
    assert found["thinkpool_tool_duration_seconds_count", (("tool", "search_documents"),)] == 1
    assert found["thinkpool_events_total", (("type", "report.delta"),)] == 3
    for name in ("queue_wait", "time_to_first_event", "time_to_first_source", "time_to_report", "run_duration"):
        assert found[f"thinkpool_{name}_seconds_count", ()] == 1, name
    assert found["thinkpool_queue_wait_seconds_sum", ()] == 1


def test_a_resumed_run_waits_only_once() -> None:
    metrics = filled()
    metrics.observe(RunStarted(replica="r", pipeline=1, model="m", attempt=2), since_submit_seconds=50)
    assert samples(metrics)["thinkpool_queue_wait_seconds_count", ()] == 1


def test_only_a_runs_first_source_is_timed() -> None:
    metrics = filled()
    metrics.observe(
        SourceFound(source_id=SourceId(2), document="d", url=None, title="t", snippet="s"), since_submit_seconds=50
    )
    assert samples(metrics)["thinkpool_time_to_first_source_seconds_count", ()] == 1


def test_figures_of_the_service_are_told_as_they_are() -> None:
    found = samples(filled())
    assert found["thinkpool_active_requests", ()] == 3
    assert found["thinkpool_pool_usage", ()] == 0.75
    assert found["thinkpool_pool_pipelines", (("state", "broken"),)] == 1
    assert found["thinkpool_pool_replacements_total", ()] == 5
    assert found["thinkpool_queued_runs", ()] == 7
    assert found["thinkpool_limiter_limit", ()] == 10
    assert found["thinkpool_open_streams", ()] == 9
    assert found["thinkpool_event_log_lag_seconds", ()] == 0.25
    assert found["thinkpool_resumed_runs_total", ()] == 2
    assert found["thinkpool_repeated_steps_total", ()] == 1
    assert found["thinkpool_upstream_rate_limited_total", (("upstream", "model"),)] == 1
    assert found["thinkpool_upstream_breaker_open", (("upstream", "model"),)] == 1
    assert found["thinkpool_upstream_breaker_open", (("upstream", "search"),)] == 0
    assert found["thinkpool_upstream_in_flight", (("upstream", "model"),)] == 4
    assert found["thinkpool_upstream_waiting", (("upstream", "model"),)] == 5
    assert found["thinkpool_upstream_errors_total", (("kind", "unavailable"), ("upstream", "model"))] == 2
    assert found["thinkpool_upstream_keys", (("state", "in_use"), ("upstream", "search"))] == 2
    assert found["thinkpool_upstream_keys", (("state", "resting"), ("upstream", "search"))] == 1


def test_a_pool_without_pipelines_is_not_used() -> None:
    metrics = Metrics("x")
    empty = replace(STATISTICS, pool=PoolFigures(size=0, idle=0, in_use=0, waiting=0, broken=0, replaced=0))
    assert b"x_pool_usage 0.0" in metrics.render(empty)


def test_label_values_come_from_closed_sets_whatever_is_said() -> None:
    metrics = filled()
    for number in range(50):
        metrics.observe(
            ToolFinished(
                call_id="c",
                name=f"made_up_{number}",
                ok=False,
                summary="",
                duration_seconds=0,
                cached=False,
                error=f"e{number}",
            ),
            since_submit_seconds=1,
        )
        metrics.observe(RunFailed(code=f"code-{number}", message="", partial_report=""), since_submit_seconds=1)
        metrics.observe_request(route=f"/r{number}", method=f"M{number}", status=404)
    found = samples(metrics)
    assert found["thinkpool_tool_errors_total", (("code", "other"), ("tool", "other"))] == 50
    assert found["thinkpool_run_failures_total", (("code", "other"),)] == 50
    assert found["thinkpool_requests_total", (("method", "other"), ("route", "other"), ("status", "4xx"))] == 50


def test_known_codes_are_told_apart() -> None:
    metrics = filled()
    metrics.observe(RunFailed(code="model-timeout", message="", partial_report=""), since_submit_seconds=1)
    metrics.observe(RunCancelled(by="client", partial_report="", usage=Usage()), since_submit_seconds=1)
    found = samples(metrics)
    assert found["thinkpool_run_failures_total", (("code", "model-timeout"),)] == 1
    assert found["thinkpool_runs_total", (("outcome", "cancelled"),)] == 1


def test_two_apps_in_a_process_do_not_mix() -> None:
    filled()
    assert samples(Metrics("thinkpool"))["thinkpool_turns_total", ()] == 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing() -> None:
    metrics = filled()
    metrics.observe_request(route="/health", method="GET", status=200)
    metrics.observe_loop_lag(0.001)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.render(BUSY), capture_output=True, timeout=20, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
