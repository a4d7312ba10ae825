"""The tools: what each takes, does and gives. Transport and protocol are not known here.

What a caller gets wrong, and what the server cannot do now, is an answer that says so; a model reads it and goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pydantic import BaseModel
from thinkpool_pipeline.errors import InvalidArguments, PipelineError, ShuttingDown, ToolError, UnknownRun
from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import JsonObject, RunId, Seq

from thinkpool_server.active_runs import active_runs
from thinkpool_server.effort import budget_for
from thinkpool_server.error_responses import failure_of
from thinkpool_server.mcp_server import documents
from thinkpool_server.mcp_server.arguments import (
    ReadArguments,
    ResearchArguments,
    SearchArguments,
    StatusArguments,
    checked,
)
from thinkpool_server.projections.mcp import ProgressNote, ProgressNotes, RunView, run_texts, run_view
from thinkpool_server.protocols import RunReader, Runtime
from thinkpool_server.runs import RunRecord, Submission, Tenant
from thinkpool_server.schemas import ResearchRequest
from thinkpool_server.submissions import Asker, research_submission

CALL_KEY = "mcp_call"
"""Where a run's metadata has the name of the call that it answers."""

CANCEL_PATIENCE_SECONDS = 1.0
"""A call may be cancelled before its run is stored: so much later it is looked for again."""

Report: TypeAlias = Callable[[ProgressNote], Awaitable[None]]
"""Tells the caller how far a call is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, and under what name the call can be cancelled."""

    asker: Asker
    call: str | None = None
    """Unique among the tenant's calls; None where a cancelled call needs no name."""
    leave: Callable[[RunId], None] | None = None
    """Told of the run whose call was cancelled or lost; None leaves the run to the grace that every reader has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswer:
    """What a call came to."""

    texts: tuple[str, ...]
    structure: JsonObject | None = None
    """The same for programs, as the tool's output schema has it."""
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts:
    """What clients are told of a tool."""

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    result: type[BaseModel]
    is_read_only: bool = True
    is_open_world: bool = False
    """Whether it reaches beyond the deployment."""


TOOLS: tuple[ToolFacts, ...] = (
    ToolFacts(
        name="research",
        title="Research a question",
        description=(
            "Researches a question in depth, in the web and in local documents as the server has them, and returns a "
            "report in Markdown whose numbered statements were looked up in their sources. Takes from seconds to an "
            "hour and tells its progress. Where calls may not take so long, set background and ask research_status."
        ),
        arguments=ResearchArguments,
        result=RunView,
        is_read_only=False,
        is_open_world=True,
    ),
    ToolFacts(
        name="research_status",
        title="State of a research run",
        description="How it stands with a run of research, and its report and sources once it has ended.",
        arguments=StatusArguments,
        result=RunView,
    ),
    ToolFacts(
        name="search_documents",
        title="Search the local documents",
        description="Searches the server's local documents and returns the passages that fit best, best first.",
        arguments=SearchArguments,
        result=documents.FoundPassages,
    ),
    ToolFacts(
        name="read_document",
        title="Read a local document",
        description=(
            f"Reads a local document that search_documents found, about {documents.PAGE_CHARACTERS:,} characters at "
            "a time."
        ),
        arguments=ReadArguments,
        result=documents.ReadPage,
    ),
)
"""In the order in which clients list them."""


class McpTools:
    """The tools around a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report) -> ToolAnswer | None:
        """What the call comes to; None when there is no such tool."""
        try:
            match name:
                case "research":
                    return await self._research(checked(ResearchArguments, arguments), caller, report)
                case "research_status":
                    return await self._status(checked(StatusArguments, arguments), caller.asker.tenant)
                case "search_documents":
                    return _answer(*await documents.found(self._runtime.documents, checked(SearchArguments, arguments)))
                case "read_document":
                    return _answer(*await documents.read(self._runtime.documents, checked(ReadArguments, arguments)))
                case _:
                    return None
        except PipelineError as error:
            return ToolAnswer(texts=(_said_of(error),), is_error=True)

    async def cancel(self, tenant: Tenant, call: str) -> None:
        """Stops the run of the call of this name, if there is one, or will be one in a moment."""
        with suppress(PipelineError):  # nobody is there to be told
            if not await self._cancel_runs(tenant, call):
                await asyncio.sleep(CANCEL_PATIENCE_SECONDS)
                await self._cancel_runs(tenant, call)

    async def _cancel_runs(self, tenant: Tenant, call: str) -> bool:
        runs = [
            record.run_id
            async for record in active_runs(self._runtime.service, tenant)
            if record.origin == "mcp" and record.metadata.get(CALL_KEY) == call
        ]
        for run_id in runs:
            await self._runtime.service.cancel(tenant, run_id)
        return bool(runs)

    async def _research(self, arguments: ResearchArguments, caller: Caller, report: Report) -> ToolAnswer:
        record, _ = await self._runtime.service.submit(_submission(arguments, caller))
        if arguments.background:
            return _run_answer(run_view(record, None))
        try:
            view = run_view(record, await self._followed(record, report))
        except asyncio.CancelledError:
            if caller.leave is not None:
                caller.leave(record.run_id)
            raise
        return replace(_run_answer(view), is_error=not view.is_report_whole)

    async def _followed(self, record: RunRecord, report: Report) -> StoredEvent:
        """The run's end event, once the caller was told of all before it."""
        notes = ProgressNotes(record.run_id)
        end: StoredEvent | None = None
        async with self._runtime.service.follow(record) as reader:
            async for batch in reader:
                for note in notes.project(batch):
                    await report(note)
                end = batch[-1]
        if end is None or not end.is_end:
            raise _unfinished(reader, record)
        return end

    async def _status(self, arguments: StatusArguments, tenant: Tenant) -> ToolAnswer:
        run_id = RunId(arguments.run_id)
        record = await self._runtime.service.get(tenant, run_id)
        if arguments.wait_seconds and not record.is_ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(arguments.wait_seconds):
                    await self._ended(record)
            record = await self._runtime.service.get(tenant, run_id)
        return _run_answer(run_view(record, await self._end_of(record)))

    async def _ended(self, record: RunRecord) -> None:
        async with self._runtime.service.follow(record, after=record.last_seq) as reader:
            async for _ in reader:
                pass

    async def _end_of(self, record: RunRecord) -> StoredEvent | None:
        if not record.is_ended:
            return None
        before = Seq(record.last_seq - 1)
        page = await self._runtime.service.read_page(record.tenant, record.run_id, after=before, max_events=1)
        return page[0] if page and page[0].is_end else None


def _submission(arguments: ResearchArguments, caller: Caller) -> Submission:
    submission = research_submission(ResearchRequest(query=arguments.query), caller.asker)
    return replace(
        submission,
        question=replace(submission.question, budget=budget_for(arguments.effort, caller.asker.budget)),
        origin="mcp",
        is_foreground=not arguments.background,
        metadata={} if caller.call is None else {CALL_KEY: caller.call},
    )


def _unfinished(reader: RunReader, record: RunRecord) -> PipelineError:
    if reader.is_cut:
        return ShuttingDown(f"The server is shutting down; run {record.run_id} may go on after its restart.")
    return UnknownRun("The run was deleted.")


def _run_answer(view: RunView) -> ToolAnswer:
    return ToolAnswer(texts=run_texts(view), structure=view.model_dump(mode="json"))


def _answer(texts: Sequence[str], structure: BaseModel) -> ToolAnswer:
    return ToolAnswer(texts=tuple(texts), structure=structure.model_dump(mode="json"))


def _said_of(error: PipelineError) -> str:
    """What the caller is told: names of fields, and nothing of their values."""
    if isinstance(error, InvalidArguments):
        return error.message
    if isinstance(error, ToolError):
        return error.message
    failure = failure_of(error)
    places = "".join(f"{fault.field}: " for fault in failure.faults)
    wait = failure.headers.get("Retry-After")
    return f"{places}{failure.message}" + (f" Try again in {wait} s." if wait else "")
