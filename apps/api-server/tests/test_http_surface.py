import asyncio
import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from thinkpool_pipeline.errors import PipelineError
from thinkpool_server.app import create_app
from thinkpool_server.error_responses import SECURITY_HEADERS
from thinkpool_server.runs import RunRecord, Submission
from thinkpool_server.service_statistics import PoolFigures
from thinkpool_server.settings import Settings
from thinkpool_server.testing.memory_service import STATISTICS, MemoryRunService, memory_runtime
from thinkpool_server.testing.scripts import completed_run
from thinkpool_server.testing.serving import served, serving


class BrokenService(MemoryRunService):
    def __init__(self, bug: Exception) -> None:
        super().__init__()
        self.bug = bug

    async def submit(self, submission: Submission) -> tuple[RunRecord, bool]:
        raise self.bug


async def test_others_are_answered_while_the_description_is_made_once() -> None:
    made: list[str] = []
    may_be_done = threading.Event()

    def make() -> dict[str, Any]:
        made.append(threading.current_thread().name)
        assert may_be_done.wait(10)
        return {"openapi": "3.1.0"}

    app = create_app(Settings(), memory_runtime(MemoryRunService()))
    app.openapi = make
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(client.get("/openapi.json")) for _ in range(8)]
            while not made:
                assert (await client.get("/health")).status_code == 200
            assert (await client.get("/health")).status_code == 200
            may_be_done.set()
        again = await client.get("/openapi.json")
    assert {task.result().content for task in asked} == {again.content}
    assert again.json() == {"openapi": "3.1.0"}
    assert len(made) == 1


async def test_health_tells_the_figures() -> None:
    async with served() as http:
        http.service.figures = replace(
            STATISTICS,
            active_runs=3,
            queued_runs=4,
            pool=PoolFigures(size=7, idle=4, in_use=3, waiting=0, broken=0, replaced=0),
        )
        answer = await http.client.get("/health")
        assert answer.status_code == 200
        body = answer.json()
    assert (body["status"], body["active_requests"], body["queued_requests"], body["pool_size"]) == ("ok", 3, 4, 7)
    assert body["pool"]["idle"] == 4
    assert body["limiter"] == {"held": 0, "total": 10}
    assert body["knowledge"] == {"state": "none", "documents": 0, "passages": 0}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"is_started": False}, "starting"),
        ({"is_draining": True}, "draining"),
        ({"is_database_ok": False}, "database-unreachable"),
    ],
)
async def test_a_server_that_is_not_ready_says_so_and_is_alive(change: dict[str, bool], status: str) -> None:
    async with served() as http:
        assert (await http.client.get("/ready")).status_code == 200
        http.service.figures = replace(STATISTICS, **change)
        ready = await http.client.get("/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": status})
        health = await http.client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, status)


async def test_no_request_takes_a_thread() -> None:
    """Defect 21: every request had a thread, an event loop and a pool of connections of its own."""
    async with served(MemoryRunService(completed_run())) as http:
        before = threading.enumerate()
        asked = {"messages": [{"role": "user", "content": "a"}]}
        for method, path, body in (
            ("POST", "/v1/research", {"query": "a"}),
            ("POST", "/v1/research", {"query": "a", "stream": True}),
            ("POST", "/v1/chat/completions", asked),
            ("POST", "/v1/chat/completions", {**asked, "stream": True}),
            ("GET", "/v1/research/run-0001", None),
            ("GET", "/v1/models", None),
            ("GET", "/health", None),
            ("GET", "/metrics", None),
        ):
            assert (await http.client.request(method, path, json=body)).status_code in (200, 202)
        assert threading.enumerate() == before


async def test_metrics_count_requests_by_route() -> None:
    async with served(metrics_namespace="mirothinker") as http:
        await http.client.post("/v1/research", json={"query": "a"})
        await http.client.get("/v1/research/run-0001")
        await http.client.get("/v1/research/run-0002")
        await http.client.get("/nowhere/at/all")
        answer = await http.client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    counted = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "mirothinker_requests_total"
    }
    assert counted == {
        ("/v1/research", "POST", "2xx"): 1,
        ("/v1/research/{run_id}", "GET", "2xx"): 1,
        ("/v1/research/{run_id}", "GET", "4xx"): 1,
        ("other", "GET", "4xx"): 1,
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/research/", 404, "not-found"),
        ("PUT", "/v1/research", 405, "method-not-allowed"),
        ("GET", "/docs", 404, "not-found"),
    ],
)
async def test_what_is_not_there_is_a_problem(method: str, path: str, status: int, code: str) -> None:
    async with served() as http:
        answer = await http.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == f"urn:thinkpool:problem:{code}"


async def test_the_methods_that_a_path_has_are_named_to_those_that_it_has_not() -> None:
    async with served() as http:
        for path, methods in (
            ("/v1/research", "POST, GET"),
            ("/v1/research/run-1", "GET, DELETE"),
            ("/v1/research/ui-stream", "POST"),
            ("/v1/responses/resp-1", "GET, DELETE"),
        ):
            answer = await http.client.patch(path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


async def test_what_is_not_there_for_openai_clients_is_their_error_object() -> None:
    async with served() as http:
        answer = await http.client.get("/v1/chat/nothing")
        assert answer.json()["error"]["code"] == "not-found"


@pytest.mark.parametrize("bug", [RuntimeError("secret detail"), PipelineError("secret detail")])
async def test_a_bug_of_ours_tells_nothing_of_itself(bug: Exception) -> None:
    async with served(BrokenService(bug)) as http:
        for path, body in (
            ("/v1/research", {"query": "a"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ):
            answer = await http.client.post(path, json=body)
            assert answer.status_code == 500
            assert "secret" not in answer.text
            assert "RuntimeError" not in answer.text
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_every_answer_has_the_security_headers_and_an_id() -> None:
    async with served(server_api_keys="a:key-of-alice") as http:
        answers = [
            await http.client.get("/health"),
            await http.client.get("/metrics"),
            await http.client.get("/v1/research"),
            await http.client.get("/nowhere", headers={"X-API-Key": "key-of-alice"}),
            await http.client.post("/v1/research", json={"query": "a"}, headers={"X-API-Key": "key-of-alice"}),
        ]
        for answer in answers:
            for name, value in SECURITY_HEADERS.items():
                assert answer.headers[name] == value
        assert len({answer.headers["X-Request-Id"] for answer in answers}) == len(answers)


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("abc-1.2_Z", True), ("a" * 128, True), ("a" * 129, False), ("two words", False), ("a:b", False), ("é", False)],
)
async def test_a_proxys_request_id_is_kept_if_a_header_and_a_log_can_carry_it(given: str, is_kept: bool) -> None:
    async with served() as http:
        answer = await http.client.get("/health", headers={"X-Request-Id": given.encode()})
    assert (answer.headers["X-Request-Id"] == given) == is_kept
    assert answer.headers["X-Request-Id"].isascii()


EVIL = [
    "https://evil.example",
    "null",
    "https://chat.example.evil.example",
    "https://xchat.example",
    "https://chat.example:8443",
]


@pytest.mark.parametrize("origins", ["", "https://chat.example"])
@pytest.mark.parametrize("origin", EVIL)
async def test_other_origins_get_no_cors_headers(origins: str, origin: str) -> None:
    async with served(cors_origins=origins) as http:
        for method in ("GET", "OPTIONS"):
            answer = await http.client.request(
                method, "/v1/models", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
            )
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_named_origin_may_call_without_a_key_for_the_preflight() -> None:
    async with served(cors_origins="https://chat.example", server_api_keys="a:key-of-alice") as http:
        origin = {"Origin": "https://chat.example"}
        preflight = await http.client.options(
            "/v1/research",
            headers={
                **origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,idempotency-key",
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://chat.example"
        assert "Access-Control-Allow-Credentials" not in preflight.headers
        refused = await http.client.get("/v1/research", headers=origin)
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://chat.example")


def test_the_api_describes_itself() -> None:
    description = create_app(Settings(), memory_runtime(MemoryRunService())).openapi()
    paths = description["paths"]
    assert {"/v1/research", "/v1/research/{run_id}/events", "/v1/chat/completions", "/health"} <= paths.keys()
    assert "HTTPValidationError" not in str(description)
