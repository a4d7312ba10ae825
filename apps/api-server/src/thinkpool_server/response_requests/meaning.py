"""What a request for a response means: the run it asks for, or the field that cannot be had. No I/O."""

from dataclasses import dataclass, replace

from pydantic import JsonValue
from thinkpool_pipeline.values import Budget, JsonFormat, JsonObject, Message, Question, Sampling

from thinkpool_server.effort import budget_for
from thinkpool_server.errors import InvalidField
from thinkpool_server.input_files import input_files
from thinkpool_server.response_requests.included import included
from thinkpool_server.response_requests.schemas import ResponseRequest
from thinkpool_server.response_requests.tools import AvailableTools, asked_tools
from thinkpool_server.runs import RunRecord, Submission
from thinkpool_server.schemas import RequestMessage
from thinkpool_server.submissions import (
    Asker,
    check_size,
    checked_model,
    checked_webhook_url,
    conversation,
    json_format,
)
from thinkpool_server.unsupported_fields import RESPONSES_UNSUPPORTED, refuse_unsupported

_LEFT_OUT = RequestMessage(role="assistant")
"""Stands for an item that is left out, so that those behind it keep their places in what is said of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A run that a request builds on, in whatever dialect it was asked for."""

    record: RunRecord
    report: str
    """As far as it came; may be empty."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation up to its report; its `instructions` are left out, as with OpenAI."""
        said = self.record.question.messages[1 if self.record.echo.get("instructions") else 0 :]
        return (*said, Message(role="assistant", content=self.report)) if self.report.strip() else said


def response_submission(
    body: ResponseRequest, asker: Asker, available: AvailableTools, earlier: Earlier | None
) -> Submission:
    """The run that this response is made of; in the foreground, it ends when nobody waits for it any more.

    Raises:
        InvalidField: a field's value cannot be had, or the field itself.

    """
    refuse_unsupported(body, RESPONSES_UNSUPPORTED)
    _refuse_what_does_not_go_together(body)
    given = [_LEFT_OUT if item is None else item for item in body.input]
    said = conversation(given, "input")
    instructions = (Message(role="system", content=body.instructions),) if body.instructions else ()
    check_size((*instructions, *said), "input", asker)
    before = (*instructions, *(earlier.messages if earlier else ()))
    tools = asked_tools(body.tools, body.tool_choice, available)
    question = Question(
        messages=(*before, *said),
        model=checked_model(body.model, asker),
        budget=_budget(body, asker.budget),
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p, max_output_tokens=body.max_output_tokens),
        files=input_files((), given, max_bytes=asker.max_input_file_bytes, place="input"),
        json_format=_json_format(body, asker),
        tools=tools.allowance,
    )
    return Submission(
        tenant=asker.tenant,
        question=question,
        origin="responses",
        idempotency_key=asker.idempotency_key,
        sending=asker.sending,
        is_foreground=not body.background,
        metadata=dict(body.metadata or {}),
        webhook_url=checked_webhook_url(body.webhook_url, asker),
        echo={
            **_echo(body),
            "tools": tools.echo,
            "include": list[JsonValue](sorted(included(body.include or ()))),
            "first_input": len(before),
        },
    )


def _json_format(body: ResponseRequest, asker: Asker) -> JsonFormat | None:
    asked = body.text.format if body.text else None
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return JsonFormat()
    if asked.name is None or asked.schema_ is None:
        raise InvalidField("text.format", "A json_schema should have a name and a schema.")
    form = JsonFormat(
        schema=asked.schema_, name=asked.name, description=asked.description or "", is_strict=bool(asked.strict)
    )
    return json_format("text.format.schema", form, body.model or asker.model_names[0])


def _budget(body: ResponseRequest, limit: Budget) -> Budget:
    """The operator's budget, or the part of it that the effort stands for; no client gets more calls by asking."""
    budget = budget_for(body.reasoning.effort if body.reasoning else None, limit)
    return replace(budget, max_tool_calls=min(body.max_tool_calls or budget.max_tool_calls, budget.max_tool_calls))


def _echo(body: ResponseRequest) -> JsonObject:
    reasoning = body.reasoning
    said: dict[str, JsonValue] = {
        "instructions": body.instructions or None,
        "max_tool_calls": body.max_tool_calls,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": (reasoning.summary or reasoning.generate_summary) if reasoning else None,
        },
        "safety_identifier": body.safety_identifier,
        "store": body.store,
        "tool_choice": body.tool_choice,
        "truncation": body.truncation,
        "user": body.user,
    }
    return {name: value for name, value in said.items() if value is not None}


def _refuse_what_does_not_go_together(body: ResponseRequest) -> None:
    if body.background and body.store is False:
        raise InvalidField("background", "A response in the background must be stored.")
    if body.webhook_url is not None and body.store is False:
        raise InvalidField("webhook_url", "A response that is not stored is gone when its webhook comes.")
    if body.stream_options is not None and not body.stream:
        raise InvalidField("stream_options", "It is for streams only.")
