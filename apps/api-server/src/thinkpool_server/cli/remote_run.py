"""A run on a server elsewhere, by way of the Python client: a stream that breaks is taken up where it broke."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager

import httpx
import orjson
from thinkpool.client import AsyncRun, AsyncThinkPool, ConnectionFailed, Refused, RetryPolicy, ThinkPoolError
from thinkpool_pipeline.errors import PipelineError
from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import Seq

POLICY = RetryPolicy(call_seconds=0, stream_seconds=60)
"""Whoever sits at a terminal is told at once that a question is not taken, and asks again."""


class AskingFailed(PipelineError):
    """The server did not take the question."""

    code = "asking-failed"


class RemoteRun:
    """A run that a server has accepted."""

    def __init__(self, run: AsyncRun, url: str) -> None:
        self._run = run
        self._url = url

    @property
    def run_id(self) -> str:
        """The run's id on that server."""
        return self._run.id

    async def events(self) -> AsyncIterator[StoredEvent]:
        """Every event once, in order, up to the end.

        Raises:
            AskingFailed: the server is gone, or no longer knows the run.

        """
        with self._translated():
            async with aclosing(self._run.events()) as events:
                async for event in events:
                    data = orjson.dumps(event.data)
                    yield StoredEvent(seq=Seq(event.seq or 0), type=event.type, data=data, at=time.time())

    async def cancel(self) -> None:
        """Asks the server to stop the run."""
        with self._translated():
            await self._run.cancel()

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(f"The connection to {self._url} is lost; the run {self.run_id} goes on there.")


@asynccontextmanager
async def open_remote_run(
    url: str, question: str, *, api_key: str | None = None, policy: RetryPolicy = POLICY
) -> AsyncGenerator[RemoteRun]:
    """Asks the server at `url`; the run goes on there when the block is left.

    Raises:
        AskingFailed: nobody answers there, or the server refuses.

    """
    async with httpx.AsyncClient(trust_env=False) as http:
        with _translated(f"No server answers at {url}."):
            run = await _client(url, api_key, policy, http).research(question)
        yield RemoteRun(run, url)


def _client(url: str, api_key: str | None, policy: RetryPolicy, http: httpx.AsyncClient) -> AsyncThinkPool:
    try:
        return AsyncThinkPool(url, api_key=api_key, retry=policy, http_client=http)
    except ValueError as error:
        raise AskingFailed(str(error)) from error


@contextmanager
def _translated(without_connection: str) -> Generator[None]:
    """The client's errors in the command line's words."""
    try:
        yield
    except ConnectionFailed as error:
        raise AskingFailed(without_connection) from error
    except Refused as error:
        again = f" Try again in {error.retry_after:g} s." if error.retry_after else ""
        raise AskingFailed(f"The server refused ({error.status}): {error.detail}{again}") from error
    except ThinkPoolError as error:
        raise AskingFailed(str(error)) from error
