"""Clients that submit runs and follow them to their end, whatever happens to their connections, and note everything."""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import orjson
from pydantic import JsonValue
from thinkpool_pipeline.events import END_TYPES

from chaos.frames import Frame, frames
from chaos.history import Chat, ConnectionEnding, Delivery, Post
from chaos.recorder import OpenConnection, Recorder

RUN_ID_HEADER = "X-ThinkPool-Run-Id"
_PAUSE_SECONDS = (0.05, 0.4)
_LONGEST_RETRY_AFTER_SECONDS = 2.0
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=25.0)
"""Heartbeats come every ten seconds: a stream silent for longer leads to a server that is frozen or gone."""
_TAKEN = (HTTPStatus.OK, HTTPStatus.ACCEPTED)
_FINAL = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)
_BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError)


class NotAccepted(Exception):
    """A submission that was refused for good."""


@dataclass(slots=True, kw_only=True)
class Clients:
    """A crowd of clients of one tenant. Each waits, tries again and goes on as a good client does."""

    session: aiohttp.ClientSession
    next_url: Callable[[], str]
    """Where the next request goes."""
    recorder: Recorder
    rng: random.Random
    api_key: str = ""
    """Empty where the service is open."""
    tenant: str = ""

    async def research(self, query: str, *, cut_after: int | None = None) -> str:
        """Submits a run and follows it to its end; its id. `cut_after`: as for `follow`. Raises as `submit`."""
        run_id = await self.submit(query)
        await self.follow(run_id, cut_after=cut_after)
        return run_id

    async def submit(self, query: str) -> str:
        """The id of a new run with an Idempotency-Key of its own; tries until somebody takes it.

        Raises:
            NotAccepted: refused for good.

        """
        key = self.new_key()
        while True:
            post = await self.post({"query": query}, key=key)
            if post.is_accepted:
                return post.run_id
            if post.status in _FINAL:
                raise NotAccepted(f"status {post.status}")
            await self._pause(post.retry_after_seconds)

    async def post(self, body: Mapping[str, JsonValue], *, key: str = "") -> Post:
        """One try to submit, noted."""
        post, reply = await self._send("/v1/research", body, key)
        if reply is not None:
            reply.release()
        return post

    async def follow(self, run_id: str, *, after: int | None = None, cut_after: int | None = None) -> None:
        """Reads a run's events to its end event over as many connections as that takes.

        `cut_after`: leave each connection after so many events.
        """
        while True:
            connection = self.recorder.open(run_id, self.next_url(), after, is_read_back=False)
            ending = await self._read(connection, cut_after)
            if ending in ("end", "nothing-more") or connection.status in _FINAL:
                return
            after = connection.last_seq
            if ending != "cut":
                await self._pause(None)

    async def until_first_event(self, body: Mapping[str, JsonValue]) -> str:
        """Submits with a body that asks for a stream, and leaves that at its first event; the run's id.

        Raises:
            NotAccepted: there was no event.

        """
        post, reply = await self._send("/v1/research", body, self.new_key())
        if reply is not None:
            async with reply:
                async for frame in frames(reply.content):
                    if frame.seq:
                        return post.run_id
        raise NotAccepted(f"status {post.status}")

    async def read_back(self, run_id: str, url: str) -> None:
        """Reads an ended run's events from their beginning, at one replica."""
        await self._read(self.recorder.open(run_id, url, None, is_read_back=True), None)

    async def chat(self, query: str) -> str:
        """Asks in OpenAI's way, streamed, and reads to the end; when that breaks, follows the run. Its id.

        Raises:
            NotAccepted: refused for good.

        """
        key = self.new_key()
        message: JsonValue = {"role": "user", "content": query}
        body: dict[str, JsonValue] = {"model": "simulated", "stream": True, "messages": [message]}
        while True:
            post, reply = await self._send("/v1/chat/completions", body, key)
            if reply is not None and post.is_accepted:
                if not await self._read_chat(post.run_id, reply):
                    await self.follow(post.run_id)
                return post.run_id
            if post.status in _FINAL:
                raise NotAccepted(f"status {post.status}")
            await self._pause(post.retry_after_seconds)

    async def cancel(self, run_id: str) -> int:
        """Asks for a run's end; the status, 0 when no answer came."""
        address = f"{self.next_url()}/v1/research/{run_id}/cancel"
        try:
            async with self.session.post(address, headers=self.headers(), timeout=_TIMEOUT) as reply:
                return reply.status
        except _BROKEN:
            return 0

    def headers(self) -> dict[str, str]:
        """What says who asks."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def new_key(self) -> str:
        """An Idempotency-Key that nobody has used."""
        return f"{self.rng.getrandbits(64):016x}"

    async def _send(
        self, path: str, body: Mapping[str, JsonValue], key: str
    ) -> tuple[Post, aiohttp.ClientResponse | None]:
        """A noted try to submit, and its answer, still to be read or released."""
        url, data, began_at = self.next_url(), orjson.dumps(body), time.time()
        headers = self.headers() | {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        try:
            reply = await self.session.post(url + path, data=data, headers=headers, timeout=_TIMEOUT)
        except _BROKEN:
            reply = None
        post = Post(
            at=began_at,
            seconds=time.time() - began_at,
            via=url,
            tenant=self.tenant,
            key=key,
            body_digest=hashlib.sha256(data).hexdigest(),
            status=reply.status if reply is not None else 0,
            run_id=reply.headers.get(RUN_ID_HEADER, "") if reply is not None and reply.status in _TAKEN else "",
            retry_after_seconds=_seconds(reply.headers.get("Retry-After")) if reply is not None else None,
        )
        self.recorder.post(post)
        return post, reply

    async def _read(self, connection: OpenConnection, cut_after: int | None) -> ConnectionEnding:
        ending: ConnectionEnding = "cut"  # when this task is cancelled
        try:
            ending = await self._read_stream(connection, cut_after)
        except _BROKEN:
            ending = "broken"
        finally:
            self.recorder.close(connection, ending)
        return ending

    async def _read_stream(self, connection: OpenConnection, cut_after: int | None) -> ConnectionEnding:
        headers = self.headers() | {"Accept": "text/event-stream"}
        if connection.after is not None:
            headers["Last-Event-ID"] = str(connection.after)
        address = f"{connection.via}/v1/research/{connection.run_id}/events"
        async with self.session.get(address, headers=headers, timeout=_TIMEOUT) as reply:
            connection.status = reply.status
            if reply.status != HTTPStatus.OK:
                return "nothing-more" if reply.status == HTTPStatus.NO_CONTENT else "refused"
            ending: ConnectionEnding = "closed"
            async for frame in frames(reply.content):
                ending = _note(connection, frame) or ending
                if ending != "end" and cut_after is not None and len(connection.deliveries) >= cut_after:
                    reply.close()
                    return "cut"
            return ending

    async def _read_chat(self, run_id: str, reply: aiohttp.ClientResponse) -> bool:
        """Whether the stream ended well."""
        content: list[str] = []
        try:
            async with reply:
                async for frame in frames(reply.content):
                    if frame.data == b"[DONE]":
                        self.recorder.chat(Chat(run_id=run_id, content="".join(content)))
                        return True
                    if frame.data:
                        chunk = orjson.loads(frame.data)
                        if "error" in chunk:
                            return False
                        content += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
        except _BROKEN:
            pass
        return False

    async def _pause(self, retry_after_seconds: float | None) -> None:
        least = min(retry_after_seconds or 0.0, _LONGEST_RETRY_AFTER_SECONDS)
        await asyncio.sleep(least + self.rng.uniform(*_PAUSE_SECONDS))


def _note(connection: OpenConnection, frame: Frame) -> ConnectionEnding | None:
    """Keeps what a frame is; what the stream's end means after it, if it says so."""
    if frame.is_ping:
        connection.pings_at.append(time.time())
    if frame.is_farewell:
        return "farewell"
    if not frame.seq:
        return None
    connection.deliveries.append(Delivery(seq=frame.seq, type=frame.type, digest=frame.digest, at=time.time()))
    return "end" if frame.type in END_TYPES else None


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
