"""What a request body means: the run it asks for, or the field that cannot be had. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from thinkpool_pipeline.json_answers import SchemaRefused, check_schema
from thinkpool_pipeline.values import Budget, JsonFormat, Message, Question, Role, Sampling

from thinkpool_server.effort import budget_for
from thinkpool_server.errors import InputTooLarge, InvalidField, UnknownModel, UnsupportedField
from thinkpool_server.input_files import input_files
from thinkpool_server.runs import Sending, Submission, Tenant
from thinkpool_server.schemas import ChatRequest, RequestBudget, RequestMessage, ResearchRequest
from thinkpool_server.unsupported_fields import CHAT_UNSUPPORTED, refuse_unsupported
from thinkpool_server.webhook_rules import WebhookRules

BUILTIN_MODEL = "builtin"
"""The researcher that is no language model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and what may be asked for."""

    tenant: Tenant
    idempotency_key: str | None
    sending: Sending
    model_names: Sequence[str]
    budget: Budget
    """The operator's limits."""
    max_text_bytes: int
    """Of all messages together."""
    max_input_file_bytes: int
    """Of all files together; 0 allows none."""
    webhooks: WebhookRules
    """Where the ends of runs may be told."""


def research_submission(body: ResearchRequest, asker: Asker) -> Submission:
    """The run that this body asks for.

    Raises:
        InvalidField: a field's value cannot be had.

    """
    if (body.query is None) == (body.messages is None):
        raise InvalidField("query", "Give either query or messages.")
    if body.query is not None:
        messages = (Message(role="user", content=_checked_question(body.query, "query")),)
    else:
        messages = conversation(body.messages or [])
    check_size(messages, "messages" if body.query is None else "query", asker)
    return Submission(
        tenant=asker.tenant,
        question=Question(
            messages=messages,
            model=checked_model(body.model, asker),
            budget=_checked_budget(body.budget, asker.budget),
            sampling=Sampling(
                temperature=body.temperature,
                top_p=body.top_p,
                max_output_tokens=body.max_output_tokens,
                seed=body.seed,
                stop=tuple(body.stop or ()),
            ),
            output=body.output,
            json_format=_asked_format(body, asker),
            files=input_files(body.input_files, body.messages or (), max_bytes=asker.max_input_file_bytes),
        ),
        priority=body.priority,
        idempotency_key=asker.idempotency_key,
        sending=asker.sending,
        metadata=dict(body.metadata or {}),
        webhook_url=checked_webhook_url(body.webhook_url, asker),
    )


def chat_submission(body: ChatRequest, asker: Asker) -> Submission:
    """The run that this chat completion asks for; it ends when nobody waits for it any more.

    Raises:
        InvalidField: a field's value cannot be had, or the field itself.

    """
    refuse_unsupported(body, CHAT_UNSUPPORTED)
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise InvalidField("max_tokens", "Give either max_tokens or max_completion_tokens.")
    messages = conversation(body.messages)
    check_size(messages, "messages", asker)
    metadata = dict(body.metadata or {})
    if body.user is not None:
        metadata.setdefault("user", body.user)
    if body.safety_identifier is not None:
        metadata.setdefault("safety_identifier", body.safety_identifier)
    return Submission(
        tenant=asker.tenant,
        question=Question(
            messages=messages,
            model=checked_model(body.model, asker),
            budget=budget_for(body.reasoning_effort, asker.budget),
            sampling=Sampling(
                temperature=body.temperature,
                top_p=body.top_p,
                max_output_tokens=body.max_completion_tokens or body.max_tokens,
                seed=body.seed,
                stop=tuple(body.stop or ()),
            ),
            output=body.output,
            json_format=_asked_format(body, asker),
            files=input_files((), body.messages, max_bytes=asker.max_input_file_bytes),
        ),
        origin="chat",
        idempotency_key=asker.idempotency_key,
        sending=asker.sending,
        is_foreground=True,
        metadata=metadata,
        webhook_url=checked_webhook_url(body.webhook_url, asker),
    )


def checked_webhook_url(url: str | None, asker: Asker) -> str | None:
    """The URL, if webhooks can be sent there.

    Raises:
        InvalidField: they cannot.

    """
    if url is not None:
        asker.webhooks.check("webhook_url", url, asker.tenant)
    return url


def json_format(field: str, form: JsonFormat, model: str) -> JsonFormat:
    """The form, as far as it can be had of this model; `field` is where its schema is in the body.

    Raises:
        InvalidField: the schema cannot be used, or the model writes to none.

    """
    if form.schema is None:
        return form
    if model == BUILTIN_MODEL:
        raise UnsupportedField(field, "The builtin researcher writes JSON of its own form only: ask for json_object.")
    try:
        check_schema(form.schema)
    except SchemaRefused as refusal:
        raise InvalidField(field, str(refusal)) from None
    return form


def _asked_format(body: ChatRequest | ResearchRequest, asker: Asker) -> JsonFormat | None:
    asked = body.response_format
    if asked is None or asked.type == "text":
        return None
    if body.output != "report":
        raise InvalidField("response_format", "An answer in a box is not JSON: leave out either field.")
    if asked.type == "json_object":
        return JsonFormat()
    given = asked.json_schema
    if given is None:
        raise InvalidField("response_format.json_schema", "It should be given with this type.")
    form = JsonFormat(
        schema=given.schema_, name=given.name, description=given.description or "", is_strict=bool(given.strict)
    )
    return json_format("response_format.json_schema.schema", form, body.model or asker.model_names[0])


def conversation(messages: Sequence[RequestMessage], place: str = "messages") -> tuple[Message, ...]:
    """The messages up to the last user's, which is the question; empty ones of others left out.

    Raises:
        InvalidField: there is no question in them; `place` is what the body calls them.

    """
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        raise InvalidField(place, "There should be a message with the role user: it is the question.")
    question = _checked_question(messages[last].content.text, f"{place}.{last}.content")
    history = tuple(
        Message(role=_role(message), content=message.content.text)
        for message in messages[:last]
        if message.content.text.strip()
    )
    return (*history, Message(role="user", content=question))


def check_size(messages: Sequence[Message], place: str, asker: Asker) -> None:
    """Bodies may be longer where files are allowed; what is not in a file may not.

    Raises:
        InputTooLarge: it is.

    """
    if sum(len(message.content.encode("utf-8", "replace")) for message in messages) > asker.max_text_bytes:
        raise InputTooLarge(place, f"Without its files, a question may have {asker.max_text_bytes} bytes.")


def _role(message: RequestMessage) -> Role:
    return "system" if message.role == "developer" else message.role


def _checked_question(text: str, field: str) -> str:
    if not text.strip():
        raise InvalidField(field, "The question should not be empty.")
    return text


def checked_model(name: str | None, asker: Asker) -> str:
    """The model's name, or nothing for the default.

    Raises:
        UnknownModel: there is none of that name.

    """
    if name and name not in asker.model_names:
        raise UnknownModel("model", f"There is no such model here; there is: {', '.join(asker.model_names)}.")
    return name or ""


def _checked_budget(asked: RequestBudget, limit: Budget) -> Budget:
    return Budget(
        max_turns=int(_within("max_turns", asked.max_turns, limit.max_turns)),
        max_tool_calls=int(_within("max_tool_calls", asked.max_tool_calls, limit.max_tool_calls)),
        max_tokens=int(_within("max_tokens", asked.max_tokens, limit.max_tokens)),
        max_seconds=_within("max_seconds", asked.max_seconds, limit.max_seconds),
    )


def _within(name: str, asked: float | None, limit: float) -> float:
    if asked is None:
        return limit
    if asked > limit:
        raise InvalidField(f"budget.{name}", f"The server allows at most {limit:.15g}.")
    return asked
