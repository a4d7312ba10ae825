"""The client for asyncio: I/O and the public surface; what it does is in `calls` and `following`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from thinkpool.client.addressing import STREAM_ENDED, broken_by, has_words, reply_of
from thinkpool.client.calls import creation
from thinkpool.client.effects import Call, Close, Deliver, Effect, Flow, Open, Outcome, Pause, Procedure, Read
from thinkpool.client.events import Event
from thinkpool.client.retrying import RetryPolicy
from thinkpool.client.session import Session, session_of
from thinkpool.client.values import Health, Message, ResearchOptions, Result, RunInfo, RunStatus

T = TypeVar("T")


class _Wire:
    """Performs the effects of one procedure; it has at most one stream."""

    def __init__(self, session: Session[httpx.AsyncClient]) -> None:
        self._http = session.http
        self._address = session.address
        self._stream: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def run(self, procedure: Procedure[T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                outcome = await self._perform(procedure.send(outcome))
        except StopIteration as done:
            return done.value
        finally:
            await self._close()

    async def deliver(self, flow: Flow[T]) -> AsyncGenerator[T]:
        outcome: Outcome = None
        try:
            while True:
                try:
                    effect = flow.send(outcome)
                except StopIteration:
                    return
                if isinstance(effect, Deliver):
                    for item in effect.items:
                        yield item
                    outcome = None
                else:
                    outcome = await self._perform(effect)
        finally:
            await self._close()

    async def _perform(self, effect: Effect) -> Outcome:
        try:
            match effect:
                case Call(request):
                    response = await self._http.send(self._address.request(self._http, request))
                    return reply_of(response, response.content)
                case Open():
                    return await self._open(effect)
                case Read():
                    return STREAM_ENDED if self._chunks is None else await anext(self._chunks, STREAM_ENDED)
                case Close():
                    await self._close()
                case Pause(seconds):
                    await asyncio.sleep(seconds)
        except httpx.RequestError as error:
            await self._close()
            return broken_by(error)
        return None

    async def _open(self, effect: Open) -> Outcome:
        await self._close()
        request = self._address.request(self._http, effect.request, idle_seconds=effect.idle_seconds)
        self._stream = response = await self._http.send(request, stream=True)
        reply = reply_of(response)
        if reply.is_stream:
            self._chunks = response.aiter_bytes()
            return reply
        reply = reply_of(response, await response.aread()) if has_words(response) else reply
        await self._close()
        return reply

    async def _close(self) -> None:
        stream, self._stream, self._chunks = self._stream, None, None
        if stream is not None:
            with suppress(httpx.RequestError):
                await stream.aclose()


class AsyncThinkPool:
    """A ThinkPool server, for asyncio. As a context manager, it closes its connections."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        """`timeout` is the seconds to connect, and of silence while a request is answered.

        An `http_client` of your own, for certificates or proxies of your own, is yours to close.

        Raises:
            ValueError: the URL or the key cannot be used.

        """
        self._session = session_of(
            base_url, api_key=api_key, timeout=timeout, policy=retry, given=http_client, kind=httpx.AsyncClient
        )

    async def research(self, question: str | Sequence[Message], **options: Unpack[ResearchOptions]) -> "AsyncRun":
        """Starts a run for a question, or for a conversation that ends with one. It goes on whoever leaves.

        However often the request has to be sent, it makes one run.

        Raises:
            ThinkPoolError: it cannot be started.

        """
        return self.run(await _Wire(self._session).run(self._session.calls.create(creation(question, options))))

    def run(self, run_id: str) -> "AsyncRun":
        """A run that was started before. Nothing is sent."""
        return AsyncRun(self._session, run_id)

    async def get(self, run_id: str) -> RunInfo:
        """A run as it is now.

        Raises:
            ThinkPoolError: it is not to be had.

        """
        return await _Wire(self._session).run(self._session.calls.get(run_id))

    def list(self, *, status: RunStatus | None = None) -> AsyncGenerator[RunInfo]:
        """One's own runs, newest first, without their results; pages are asked for as they are needed.

        Raises:
            ThinkPoolError: they are not to be had.

        """
        return _Wire(self._session).deliver(self._session.calls.list(status=status))

    async def health(self) -> Health:
        """The server's figures.

        Raises:
            ThinkPoolError: it does not answer.

        """
        return await _Wire(self._session).run(self._session.calls.health())

    async def aclose(self) -> None:
        """Closes its connections."""
        if self._session.is_own_http:
            await self._session.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncThinkPool {self._session.address}>"


class AsyncRun:
    """One run on the server, by its id. Whoever knows the id may make another one, in any process."""

    def __init__(self, session: Session[httpx.AsyncClient], run_id: str) -> None:
        self._session = session
        self._run_id = run_id

    @property
    def id(self) -> str:
        """The run's id."""
        return self._run_id

    def events(self, *, after: int = 0) -> AsyncGenerator[Event]:
        """Every event from behind the one whose `seq` is `after`, each once and in order, to the run's end.

        Broken connections and restarts of the server are none of the caller's business. How the run ended, the last
        event tells: it is no error here.

        Raises:
            ThinkPoolError: the run is not to be had, or there was no sign of life for `RetryPolicy.stream_seconds`.

        """
        return _Wire(self._session).deliver(self._session.following(self._run_id, after=after).events())

    async def result(self) -> Result:
        """What the run comes to; waits for its end.

        Raises:
            RunFailed: it failed.
            RunCancelled: somebody stopped it.
            ThinkPoolError: as with `events`.

        """
        return await _Wire(self._session).run(self._session.following(self._run_id).result())

    async def report(self) -> str:
        """The report's Markdown; waits and raises as `result`."""
        return (await self.result()).report

    async def info(self) -> RunInfo:
        """The run as it is now; raises as `AsyncThinkPool.get`."""
        return await _Wire(self._session).run(self._session.calls.get(self._run_id))

    async def cancel(self) -> RunInfo:
        """Stops the run. One that has ended stays as it is.

        Raises:
            ThinkPoolError: it is not to be had.

        """
        return await _Wire(self._session).run(self._session.calls.cancel(self._run_id))

    async def delete(self) -> None:
        """Stops the run if it still works, and has the server forget it.

        Raises:
            ThinkPoolError: it is not to be had.

        """
        await _Wire(self._session).run(self._session.calls.delete(self._run_id))

    def __repr__(self) -> str:
        return f"<AsyncRun {self._run_id}>"
