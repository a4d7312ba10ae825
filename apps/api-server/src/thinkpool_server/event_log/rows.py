"""A run's row: the columns that both databases have, and the value they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.values import InputFile, JsonObject, Question

from thinkpool_server.event_log.store import Delivery, StoredRun, UnfinishedRun, Webhook
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

UNFINISHED_COLUMNS: Final = tuple(field.name for field in fields(UnfinishedRun))


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredQuestion(Question):
    """A question as its column has it: with what its dialect gives back of the request."""

    echo: JsonObject = field(default_factory=dict[str, JsonValue])


_QUESTION_FIELDS: Final = tuple(field.name for field in fields(Question))

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
        to_json(_stored(replace(record.question, files=()), record.echo)),
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
    columns = dict(zip(COLUMNS, row, strict=True))
    arrival, fingerprint, cancelled_by = columns.pop("arrival"), columns.pop("fingerprint"), columns.pop("cancelled_by")
    stored = from_json(_StoredQuestion, columns["question"])
    columns["question"] = Question(**{name: getattr(stored, name) for name in _QUESTION_FIELDS})
    columns["metadata"] = orjson.loads(columns["metadata"])
    columns["is_foreground"] = bool(columns["is_foreground"])
    record = RunRecord(**columns, echo=stored.echo, is_cancel_requested=cancelled_by is not None)
    return StoredRun(record=record, arrival=arrival, fingerprint=fingerprint, cancelled_by=cancelled_by)


def to_unfinished(row: Sequence[Any]) -> UnfinishedRun:
    """The run of `UNFINISHED_COLUMNS`."""
    columns = dict(zip(UNFINISHED_COLUMNS, row, strict=True))
    columns["is_foreground"] = bool(columns["is_foreground"])
    return UnfinishedRun(**columns)


def _stored(question: Question, echo: JsonObject) -> Question:
    if not echo:
        return question
    return _StoredQuestion(**{name: getattr(question, name) for name in _QUESTION_FIELDS}, echo=echo)


def to_delivery(row: Sequence[Any]) -> Delivery:
    """The delivery of these columns: the run, its tenant, the webhook's two, and the number of the attempt."""
    run_id, tenant, target, url, attempt = row
    return Delivery(run_id=run_id, tenant=tenant, webhook=Webhook(target=target, url=url), attempt=attempt)


def with_facts(run: StoredRun, facts: bytes | None) -> StoredRun:
    """The run, with what is told of its files, if it has any."""
    if facts is None:
        return run
    return replace(run, record=replace(run.record, files=from_json(_Facts, facts)))


def with_files(run: StoredRun, files: bytes) -> StoredRun:
    """The run, its question with its files."""
    question = replace(run.record.question, files=from_json(_Files, files))
    return replace(run, record=replace(run.record, question=question))
