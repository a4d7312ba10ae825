"""The account at E2B: its keys, the rate it may make sandboxes at, and every call about one, through the upstream."""

import asyncio
import importlib
import math
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from thinkpool_pipeline.outward import CallLimit, OutwardError, RateLimited, Refused, Timing, Unavailable, Upstream
from thinkpool_pipeline.outward.keys import KeyRing
from thinkpool_pipeline.sandbox.e2b.failures import CalledOff, NotKilled
from thinkpool_pipeline.sandbox.e2b.settings import E2BSettings

if TYPE_CHECKING:
    from e2b_code_interpreter import AsyncSandbox

    from thinkpool_pipeline.sandbox.e2b.service import Service


@dataclass(slots=True, kw_only=True)
class Creation:
    """One sandbox that is wanted, over all tries to get it."""

    metadata: Mapping[str, str]
    idempotency_key: str = field(default_factory=lambda: secrets.token_hex(16))
    """Not made of the run's id: one that a second creation shared would be answered with the sandbox of the first."""
    key: str | None = field(default=None, repr=False)
    """The account's key that it must be asked for with, since a try with it may have made one."""
    is_in_doubt: bool = False
    """Whether there may be a sandbox that nobody was told of."""
    is_called_off: bool = False
    """Whether it is no longer wanted; no further try is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A sandbox that there is."""

    key: str = field(repr=False)
    """The account's key that it was made with."""
    sandbox_id: str
    metadata: Mapping[str, str]


class Account:
    """All calls that are about sandboxes rather than into them."""

    def __init__(self, upstream: Upstream, settings: E2BSettings, pace: CallLimit, timing: Timing) -> None:
        """`pace` says when a sandbox may be made. Raises `ValueError` for a key that no header could hold."""
        self._upstream = upstream
        self._settings = settings
        self._keys = KeyRing(settings.api_keys, timing.clock)
        self._pace = pace
        self._loaded: Service | None = None

    async def service(self) -> "Service":
        """E2B's SDK. Loading it takes a second, which the event loop does not spend.

        Raises:
            Unavailable: it cannot be loaded here.

        """
        if self._loaded is None:
            thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="e2b-import")
            try:
                module = await asyncio.get_running_loop().run_in_executor(
                    thread, importlib.import_module, "thinkpool_pipeline.sandbox.e2b.service"
                )
            except ImportError as error:
                raise Unavailable(f"its library cannot be loaded, {type(error).__name__}") from error
            finally:
                thread.shutdown(wait=False)
            self._loaded = cast("Service", module.Service(self._settings))
        return self._loaded

    async def create(self, creation: Creation) -> tuple[str, "AsyncSandbox"]:
        """A new sandbox, and the key it was made with.

        Raises:
            OutwardError: after all tries; `creation` says whether one may have been made.

        """
        service = await self.service()

        async def attempt() -> tuple[str, "AsyncSandbox"]:
            if creation.key is not None:
                return creation.key, await self._make(service, creation, creation.key)
            rotation = self._keys.begin()
            while True:
                try:
                    remote = await self._make(service, creation, rotation.secret)
                except OutwardError as error:
                    rotation.move_on(error)
                else:
                    rotation.succeed()
                    return rotation.secret, remote

        return await self._upstream.carry(attempt, total_seconds=self._settings.opening_seconds)

    async def connect(self, listed: Listed) -> "AsyncSandbox":
        """A sandbox that there is.

        Raises:
            OutwardError: it is gone, or the service fails.

        """
        service = await self.service()
        return await self._upstream.carry(
            lambda: service.connect(listed.key, listed.sandbox_id), total_seconds=self._call_seconds
        )

    async def find(self, metadata: Mapping[str, str]) -> Sequence[Listed]:
        """The running sandboxes that have this metadata, of all keys that E2B accepts.

        Raises:
            OutwardError: the service fails.

        """
        service = await self.service()
        listed: list[Listed] = []
        for key in dict.fromkeys(self._settings.api_keys):
            try:
                found = await self._upstream.carry(
                    lambda key=key: service.find(key, metadata), total_seconds=self._call_seconds
                )
            except Refused:
                continue
            listed += [Listed(key=key, sandbox_id=one.sandbox_id, metadata=one.metadata) for one in found]
        return listed

    async def kill(self, key: str, sandbox_id: str) -> None:
        """Ends a sandbox, or fails at the first try: a kill is its caller's to repeat.

        Raises:
            OutwardError: the service fails.

        """
        service = await self.service()

        async def attempt() -> None:
            try:
                await service.kill(key, sandbox_id)
            except OutwardError as error:
                raise NotKilled from error

        await self._upstream.carry(attempt, total_seconds=self._call_seconds)

    @property
    def _call_seconds(self) -> float:
        return 2 * self._settings.try_seconds

    async def _make(self, service: "Service", creation: Creation, key: str) -> "AsyncSandbox":
        seconds = self._settings.opening_seconds
        async with self._pace.slot(deadline=math.inf, total_seconds=seconds) as sending:  # cut off with the whole call
            if creation.is_called_off:
                raise CalledOff
            sending.sent()
            remote = await self._ask_for_one(service, creation, key)
            sending.arrived()
            return remote

    async def _ask_for_one(self, service: "Service", creation: Creation, key: str) -> "AsyncSandbox":
        before = creation.key, creation.is_in_doubt
        creation.key, creation.is_in_doubt = key, True
        try:
            remote = await service.create(key, metadata=creation.metadata, idempotency_key=creation.idempotency_key)
        except (RateLimited, Refused):
            creation.key, creation.is_in_doubt = before
            raise
        creation.is_in_doubt = before[1]
        return remote
