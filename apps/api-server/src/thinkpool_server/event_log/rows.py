"""A run's row: the columns that both databases have, and the value they stand for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.values import InputFile, Question

from thinkpool_server.event_log.store import StoredRun
from thinkpool_server.runs import FileFacts, RunRecord

COLUMNS: Final = (
    "run_id",
    "tenant",
    "status",
    "origin",
    "priority",
    "arrival",
    "is_foreground",
    "fingerprint",
    "question",
    "metadata",
    "created_at",
    "started_at",
    "finished_at",
    "epoch",
    "last_seq",
    "cancelled_by",
)

_Facts = tuple[FileFacts, ...]
_Files = tuple[InputFile, ...]


def to_row(run: StoredRun) -> tuple[str | int | float | bytes | None, ...]:
    """The run's columns, in their order; its files are kept apart."""
    record = run.record
    return (
        record.run_id,
        record.tenant,
        record.status,
        record.origin,
        record.priority,
        run.arrival,
        record.is_foreground,
        run.fingerprint,
        to_json(replace(record.question, files=())),
        orjson.dumps(record.metadata),
        record.created_at,
        record.started_at,
        record.finished_at,
        record.epoch,
        record.last_seq,
        run.cancelled_by,
    )


def from_row(row: Sequence[Any]) -> StoredRun:
    """The run of these columns, without its files."""
    fields = dict(zip(COLUMNS, row, strict=True))
    arrival, fingerprint, cancelled_by = fields.pop("arrival"), fields.pop("fingerprint"), fields.pop("cancelled_by")
    fields["question"] = from_json(Question, fields["question"])
    fields["metadata"] = orjson.loads(fields["metadata"])
    fields["is_foreground"] = bool(fields["is_foreground"])
    record = RunRecord(**fields, is_cancel_requested=cancelled_by is not None)
    return StoredRun(record=record, arrival=arrival, fingerprint=fingerprint, cancelled_by=cancelled_by)


def with_facts(run: StoredRun, facts: bytes | None) -> StoredRun:
    """The run, with what is told of its files, if it has any."""
    if facts is None:
        return run
    return replace(run, record=replace(run.record, files=from_json(_Facts, facts)))


def with_files(run: StoredRun, files: bytes) -> StoredRun:
    """The run, its question with its files."""
    question = replace(run.record.question, files=from_json(_Files, files))
    return replace(run, record=replace(run.record, question=question))
