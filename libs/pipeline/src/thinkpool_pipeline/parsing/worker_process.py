"""A worker as the parser sees it: a child process that reads one document at a time and may be killed any time."""

import asyncio
import os
import re
import sys
from typing import Self

import orjson

from thinkpool_pipeline.parsing.documents import ParsedDocument, Unparsable
from thinkpool_pipeline.parsing.frames import FrameTooLarge, receive_frame, send_frame
from thinkpool_pipeline.parsing.messages import READY, Reply
from thinkpool_pipeline.parsing.settings import ParserSettings

_BYTES_PER_CHARACTER = 6
"""The most a character takes in a reply."""
_DEATHS = (ConnectionError, asyncio.IncompleteReadError, FrameTooLarge, orjson.JSONDecodeError)
"""How it shows that a worker is gone, or talks nonsense."""
# A worker gets no keys: of the server's environment only that by which Python finds its way.
_KEPT_VARIABLES = re.compile(r"PATH|PYTHON\w*|LD_LIBRARY_PATH|LANG|LC_\w+|TZ")


class Worker:
    """One child process. `start` makes it; `end` must follow, whatever happened."""

    def __init__(self, process: asyncio.subprocess.Process, settings: ParserSettings) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout
        self._settings = settings
        self._is_ready = False
        self._is_busy = False
        self._documents = 0
        self._resident_bytes = 0

    def __repr__(self) -> str:
        state = "busy" if self._is_busy else "idle"
        return f"<Worker {self._process.pid} [{state}, {self._documents} documents, {self._resident_bytes} bytes]>"

    @classmethod
    async def start(cls, settings: ParserSettings) -> Self:
        """A new worker, which gets ready in its own time.

        Raises:
            OSError: there can be no new process now.

        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "thinkpool_pipeline.parsing.worker",
            orjson.dumps(settings.limits).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # libraries quote what they could not read
            env={name: value for name, value in os.environ.items() if _KEPT_VARIABLES.fullmatch(name)},
            start_new_session=True,  # Ctrl-C is for the server, which ends its workers itself
        )
        return cls(process, settings)

    @property
    def is_usable(self) -> bool:
        """Whether it may be given another document."""
        settings = self._settings
        return (
            not self._is_busy
            and self._process.returncode is None
            and self._documents < settings.recycle_documents
            and self._resident_bytes <= settings.recycle_bytes
        )

    async def parse(self, request: bytes, content: bytes) -> ParsedDocument:
        """What the document says. A worker that did not reply in time, or whose caller left, is not usable any more.

        Raises:
            Unparsable: it cannot be read; or the worker died of it.

        """
        self._is_busy = True
        await self._get_ready()
        try:
            reply = await self._reply(request, content)
        except TimeoutError:
            raise Unparsable("too_slow") from None
        except _DEATHS:
            raise Unparsable("broken") from None
        self._is_busy = False
        self._documents += 1
        self._resident_bytes = reply["resident_bytes"]
        if (failed := reply["reason"]) is not None:
            raise Unparsable(failed)
        return ParsedDocument(
            title=reply["title"],
            text=reply["text"],
            date=reply["date"],
            is_cut=reply["is_cut"],
            page_starts=tuple(reply["page_starts"]),
        )

    async def _get_ready(self) -> None:
        if self._is_ready:
            return
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                await receive_frame(self._replies, max_bytes=len(READY))
        except (TimeoutError, *_DEATHS):
            raise Unparsable("busy") from None
        self._is_ready = True

    async def _reply(self, request: bytes, content: bytes) -> Reply:
        settings = self._settings
        async with asyncio.timeout(settings.parse_seconds):
            await send_frame(self._requests, request)
            await send_frame(self._requests, content)
            max_bytes = (settings.limits.max_characters + 1024) * _BYTES_PER_CHARACTER
            return orjson.loads(await receive_frame(self._replies, max_bytes=max_bytes))

    def kill(self) -> None:
        """Ends it now; whoever waits for its reply hears that it died."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Kills it and waits until it is gone."""
        self.kill()
        await self._process.communicate()
