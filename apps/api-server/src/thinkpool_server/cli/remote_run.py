"""A run on a server elsewhere, over its native routes. A stream that breaks is taken up where it broke."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

import httpx
import orjson
from thinkpool_pipeline.errors import PipelineError
from thinkpool_pipeline.events import END_TYPES, StoredEvent
from thinkpool_pipeline.values import Seq

from thinkpool_server.cli.sse_reader import SseReader

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 90.0
"""The server sends a comment at least every 60 s: more silence than this is a dead connection."""
RECONNECTS = 30
"""Connections in a row that may break without a single event before the server counts as gone."""


class AskingFailed(PipelineError):
    """The server did not take the question."""

    code = "asking-failed"


class RemoteRun:
    """A run that a server has accepted."""

    def __init__(self, client: httpx.AsyncClient, run_id: str, *, reconnect_seconds: float) -> None:
        self._client = client
        self._run_id = run_id
        self._reconnect_seconds = reconnect_seconds

    @property
    def run_id(self) -> str:
        """The run's id on that server."""
        return self._run_id

    async def events(self) -> AsyncIterator[StoredEvent]:
        """Every event once, in order, up to the end.

        Raises:
            AskingFailed: the server is gone, or no longer knows the run.

        """
        last, broken = 0, 0
        while broken <= RECONNECTS:
            try:
                async with aclosing(self._stream(after=last)) as stream:
                    async for stored in stream:
                        last, broken = max(last, stored.seq), 0
                        yield stored
                        if stored.type in END_TYPES:
                            return
            except httpx.TransportError:
                pass  # counted below, as is a stream that closes before the end
            broken += 1
            await asyncio.sleep(self._reconnect_seconds)
        raise AskingFailed(f"The connection to {self._client.base_url} is lost; the run {self._run_id} goes on there.")

    async def cancel(self) -> None:
        """Asks the server to stop the run."""
        await _post(self._client, f"/v1/research/{self._run_id}/cancel")

    async def _stream(self, *, after: int) -> AsyncGenerator[StoredEvent]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        reader = SseReader()
        async with self._client.stream("GET", f"/v1/research/{self._run_id}/events", headers=headers) as response:
            if response.status_code != 200:
                await response.aread()
                raise AskingFailed(_refusal(response))
            async for received in response.aiter_raw():
                for frame in reader.feed(received):
                    seq = Seq(int(frame.event_id or 0))
                    yield StoredEvent(seq=seq, type=frame.event, data=frame.data, at=time.time())


@asynccontextmanager
async def open_remote_run(
    url: str, question: str, *, api_key: str | None = None, reconnect_seconds: float = 1.0
) -> AsyncGenerator[RemoteRun]:
    """Asks the server at `url`; the run goes on there when the block is left.

    Raises:
        AskingFailed: nobody answers there, or the server refuses.

    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False) as client:
        response = await _post(
            client,
            "/v1/research",
            body={"query": question},
            headers={"Idempotency-Key": secrets.token_urlsafe(16)},
        )
        run_id = _fields(response).get("id")
        if not isinstance(run_id, str):
            raise AskingFailed(f"What answers at {client.base_url} is not a ThinkPool server.")
        yield RemoteRun(client, run_id, reconnect_seconds=reconnect_seconds)


async def _post(
    client: httpx.AsyncClient, path: str, *, body: object = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    try:
        response = await client.post(path, json=body, headers=headers)
    except httpx.TransportError as error:
        raise AskingFailed(f"No server answers at {client.base_url}.") from error
    if response.is_error:
        raise AskingFailed(_refusal(response))
    return response


def _refusal(response: httpx.Response) -> str:
    fields = _fields(response)
    words = fields.get("detail") or fields.get("title")
    said = words if isinstance(words, str) else "no reason given"
    wait = response.headers.get("Retry-After")
    again = f" Try again in {wait} s." if wait else ""
    return f"The server refused ({response.status_code}): {said}{again}"


def _fields(response: httpx.Response) -> dict[str, object]:
    """The reply's JSON object; empty when it is none."""
    try:
        value: object = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
