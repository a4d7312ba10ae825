"""Whatever the model's endpoint does, a run ends, says what happened, and frees its slot."""

import asyncio
from collections.abc import Mapping

import pytest
from live_server import LiveServer, field
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream

from conftest import OpenServer

SHORT = {
    "MODEL_IDLE_SECONDS": "0.3",
    "MODEL_TOTAL_SECONDS": "1.5",
    "MODEL_MAX_ATTEMPTS": "2",
    "PIPELINE_POOL_SIZE": "1",
    "SUMMARY_LLM_BASE_URL": "",
    "SUMMARY_LLM_MODEL_NAME": "",
}
FAULTS: Mapping[str, tuple[Fault, set[str]]] = {
    "hangs": (Fault(kind="stall", endpoint="chat"), {"model-timeout"}),
    "drips": (Fault(kind="drip", endpoint="chat", wait_seconds=0.1), {"model-timeout"}),
    "truncates": (Fault(kind="truncated", endpoint="chat"), {"model-reply-invalid", "model-unavailable"}),
    "sends garbage": (Fault(kind="garbage", endpoint="chat"), {"model-reply-invalid"}),
    "sends broken JSON": (Fault(kind="malformed-json", endpoint="chat"), {"model-reply-invalid"}),
    "sends HTML": (Fault(kind="html", endpoint="chat"), {"model-reply-invalid"}),
    "says 200 with an error": (Fault(kind="error-body", endpoint="chat"), {"model-reply-invalid", "model-unavailable"}),
    "breaks off with an error": (
        Fault(kind="error-event", endpoint="chat", after_bytes=400),
        {"model-unavailable", "model-reply-invalid"},
    ),
    "sends empty choices": (Fault(kind="empty-choices", endpoint="chat"), {"model-reply-invalid"}),
    "never ends": (Fault(kind="endless", endpoint="chat"), {"model-timeout", "model-reply-invalid"}),
    "says 429": (
        Fault(kind="rate-limited", endpoint="chat", retry_after="float", wait_seconds=0.05),
        {"model-rate-limited"},
    ),
    "says 429 for a year": (
        Fault(kind="rate-limited", endpoint="chat", retry_after="absurd"),
        {"model-rate-limited", "model-timeout"},
    ),
    "says 503": (Fault(kind="status", endpoint="chat", status=503), {"model-unavailable"}),
    "says 401": (Fault(kind="status", endpoint="chat", status=401), {"model-refused"}),
    "resets": (Fault(kind="reset", endpoint="chat"), {"model-unavailable"}),
    "resets in the middle": (
        Fault(kind="reset", endpoint="chat", after_bytes=600),
        {"model-unavailable", "model-reply-invalid"},
    ),
}


async def chat(server: LiveServer) -> tuple[int, str]:
    body = {"model": "simulated", "messages": [{"role": "user", "content": "Does it answer?"}]}
    async with server.session.post("/v1/chat/completions", json=body) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("how", FAULTS)
async def test_a_model_that_misbehaves_ends_in_a_failed_run_and_never_in_an_empty_success(
    open_server: OpenServer, upstream: SimulatedUpstream, how: str
) -> None:
    fault, codes = FAULTS[how]
    async with open_server(upstream, **SHORT) as server, asyncio.timeout(30):
        upstream.faults.add(fault)
        events = await server.events(await server.submit("Does it answer?"))
        check_event_log([event.event() for event in events])
        assert events[-1].type == "run.failed"
        assert field(events[-1], "code") in codes
        assert "upstream-key" not in events[-1].data.decode()
        status, body = await chat(server)
        assert 400 <= status < 500
        assert any(code in body for code in codes)  # which limit it runs into first depends on the machine
        upstream.faults.clear()
        await breaker_closed(server)
        recovered = await server.events(await server.submit("And now?"))
        assert recovered[-1].type == "run.completed"
        assert (await server.health())["pool"]["in_use"] == 0


async def breaker_closed(server: LiveServer) -> None:
    """The model's breaker lets calls through again; a failed run in between is the breaker's word for "not yet"."""
    async with asyncio.timeout(30):
        while (await server.events(await server.submit("Is it back?")))[-1].type != "run.completed":
            pass


@pytest.mark.parametrize("step", ["turn/1", "turn/2", "report"])
async def test_a_model_that_breaks_off_once_is_asked_again_and_the_client_can_tell(
    open_server: OpenServer, upstream: SimulatedUpstream, step: str
) -> None:
    async with open_server(upstream) as server, asyncio.timeout(30):
        upstream.faults.add(Fault(kind="reset", endpoint="chat", step=step, times=1, after_bytes=1500))
        events = await server.events(await server.submit("Does it answer?"))
    check_event_log([event.event() for event in events])
    assert events[-1].type == "run.completed"
    assert [event.type for event in events].count("turn.retracted") == 1


async def test_an_endpoint_that_refuses_connections_fails_the_run(open_server: OpenServer) -> None:
    nobody = {"BASE_URL": "http://127.0.0.1:9/v1", "DEFAULT_MODEL_NAME": "absent"}
    async with open_server(**(SHORT | nobody)) as server, asyncio.timeout(30):
        events = await server.events(await server.submit("Is anybody there?"))
    assert (events[-1].type, field(events[-1], "code")) == ("run.failed", "model-unavailable")


async def test_invalid_utf8_is_read_with_replacement_characters(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with open_server(upstream, **SHORT) as server, asyncio.timeout(30):
        upstream.faults.add(Fault(kind="invalid-utf8", endpoint="chat", step="report", times=1))
        end = (await server.events(await server.submit("Does it answer?")))[-1]
    assert end.type == "run.completed"
    assert "\ufffd" in field(end, "report")
