"""What is asked of the server besides streams, as procedures."""

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast
from urllib.parse import quote

from thinkpool.client.answers import error_of, fields_of, not_thinkpool, value_of
from thinkpool.client.effects import Call, Deliver, Flow, Pause, Procedure, Reply, Request, send
from thinkpool.client.retrying import Chance, Outage, RetryPolicy, failure_of, is_passing
from thinkpool.client.values import Budget, Health, InputFile, Message, ResearchOptions, RunInfo

RUNS_PATH = "/v1/research"
PAGE_SIZE = 100
"""Runs of one page of a list, the most that the server gives."""

_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")
_JSON_HEADERS = {"Accept": "application/json"}


class Calls:
    """Procedures, each a request that is repeated as the policy has it."""

    def __init__(self, policy: RetryPolicy, chance: Chance) -> None:
        self._policy = policy
        self._chance = chance

    def create(self, request: Request) -> Procedure[str]:
        """The id of the run that `creation` asks for. However often it is sent, it makes one run."""
        fields = fields_of((yield from self._answer(request)))
        run_id = fields.get("id")
        if not isinstance(run_id, str):
            raise not_thinkpool("an answer that names no run")
        return run_id

    def get(self, run_id: str) -> Procedure[RunInfo]:
        """The run as it is."""
        return value_of(RunInfo, (yield from self._json("GET", run_path(run_id))))

    def cancel(self, run_id: str) -> Procedure[RunInfo]:
        """The run after it was told to stop."""
        return value_of(RunInfo, (yield from self._json("POST", run_path(run_id, "cancel"))))

    def delete(self, run_id: str) -> Procedure[None]:
        """Nothing is left of it. That it is not there is an error, unless an earlier attempt may have removed it."""
        reply, tries = yield from self._tried(Request(method="DELETE", path=run_path(run_id)))
        if reply.status != 204 and not (reply.status == 404 and tries):
            raise error_of(reply)

    def list(self, *, status: str | None) -> Flow[RunInfo]:
        """The runs, newest first, page by page."""
        query = {"limit": str(PAGE_SIZE)} | ({"status": status} if status else {})
        while True:
            page = yield from self._json("GET", RUNS_PATH, query)
            runs = page.get("runs")
            if not isinstance(runs, list):
                raise not_thinkpool("an answer that lists no runs")
            yield Deliver(tuple(value_of(RunInfo, fields) for fields in cast("list[object]", runs)))
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str):
                return
            query["cursor"] = cursor

    def health(self) -> Procedure[Health]:
        """The server's figures."""
        fields = yield from self._json("GET", "/health")
        return value_of(Health, fields, data=fields)

    def log_page(self, run_id: str, *, after: int) -> Procedure[Mapping[str, Any]]:
        """A page of the run's log, as JSON."""
        return (yield from self._json("GET", run_path(run_id, "events"), {"after": str(after)}))

    def _json(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Procedure[Mapping[str, Any]]:
        request = Request(method=method, path=path, query=dict(query or {}), headers=_JSON_HEADERS)
        return fields_of((yield from self._answer(request)))

    def _answer(self, request: Request) -> Procedure[Reply]:
        reply, _ = yield from self._tried(request)
        return reply

    def _tried(self, request: Request) -> Procedure[tuple[Reply, int]]:
        """The first reply that is worth something, and how many attempts came to nothing before it."""
        outage = Outage(self._policy, max_seconds=self._policy.call_seconds, chance=self._chance)
        while True:
            outcome = yield from send(Call(request))
            if isinstance(outcome, Reply) and not is_passing(outcome):
                return outcome, outage.tries
            yield Pause(outage.wait_after(failure_of(outcome)))


def run_path(run_id: str, part: str = "") -> str:
    """Where the run is, or a part of it.

    Raises:
        ValueError: the id is none: it would be a step on the path.

    """
    if run_id in ("", ".", ".."):
        raise ValueError("A run's id is neither empty nor one or two dots.")
    return f"{RUNS_PATH}/{quote(run_id, safe='')}{'/' if part else ''}{part}"


def creation(question: str | Sequence[Message], options: ResearchOptions) -> Request:
    """The request for a run, with an idempotency key.

    Raises:
        TypeError: an option is none of `ResearchOptions`.
        ValueError: the idempotency key is none.

    """
    fields: dict[str, Any] = {**options}
    unknown = fields.keys() - ResearchOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"There is no option {', '.join(sorted(unknown))}.")
    key = fields.pop("idempotency_key", None) or secrets.token_urlsafe(24)
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ValueError("An idempotency key is 1 to 255 printable ASCII characters.")
    if isinstance(question, str):
        fields["query"] = question
    else:
        fields["messages"] = [dict(message) for message in question]
    if "files" in fields:
        fields["input_files"] = [_file_fields(file) for file in cast("Sequence[InputFile]", fields.pop("files"))]
    if "budget" in fields:
        fields["budget"] = {
            name: most for name, most in asdict(cast("Budget", fields["budget"])).items() if most is not None
        }
    return Request(
        method="POST",
        path=RUNS_PATH,
        headers={**_JSON_HEADERS, "Content-Type": "application/json", "Idempotency-Key": key},
        body=json.dumps(fields).encode(),
    )


def _file_fields(file: InputFile) -> dict[str, str]:
    fields = {"filename": file.filename, "data": base64.b64encode(file.data).decode()}
    return fields | ({"media_type": file.media_type} if file.media_type else {})
