"""OpenAI's own client: chat, responses, in the background, resumed, cancelled, and webhooks."""

import base64
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from openai import OpenAI
from showing import KEY, URL, show

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
model = client.models.list().data[0].id
show("models.list")


def chat() -> None:
    """Whole and streamed."""
    asked = [{"role": "user", "content": "What is known of subject one?"}]
    whole = client.chat.completions.create(model=model, messages=asked)
    message = whole.choices[0].message
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens > 0
    assert message.annotations
    for annotation in message.annotations:
        cited = annotation.url_citation
        assert message.content[cited.start_index : cited.end_index].endswith("]")
    show("chat, with url_citation annotations", message.content)

    asked = [{"role": "user", "content": "What is known of subject two?"}]
    with client.chat.completions.stream(model=model, messages=asked, stream_options={"include_usage": True}) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(deltas) > 1
    assert "".join(deltas) == final.choices[0].message.content
    assert final.usage.total_tokens > 0
    show("chat streamed, with usage", final.choices[0].message.content)


def responses() -> None:
    """Whole, streamed, and a follow-up."""
    whole = client.responses.create(model=model, input="What is known of subject three?")
    assert whole.status == "completed"
    assert whole.output[-1].content[0].annotations
    show("responses, with annotations", whole.output_text)

    with client.responses.stream(model=model, input="What is known of subject four?") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(deltas) > 1
    assert "".join(deltas) == final.output_text
    show("responses streamed", final.output_text)

    follow_up = client.responses.create(model=model, input="And of subject five?", previous_response_id=whole.id)
    assert follow_up.usage.input_tokens > whole.usage.input_tokens
    show("a follow-up by previous_response_id", follow_up.output_text)


def background() -> None:
    """Left to itself, read again behind every event, and stopped."""
    response = client.responses.create(model=model, input="What is known of subject six?", background=True)
    assert response.status in ("queued", "in_progress")
    events = list(client.responses.retrieve(response.id, stream=True))
    final = client.responses.retrieve(response.id)
    assert events[-1].response == final
    show("in the background", final.output_text)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    for number in range(len(events)):
        rest = client.responses.retrieve(response.id, stream=True, starting_after=number)
        assert list(rest) == events[number + 1 :]
    show("resume by starting_after, behind every event")

    stopped = client.responses.create(model=model, input="What is known of subject seven?", background=True)
    cancelled = client.responses.cancel(stopped.id)
    assert cancelled.status == "cancelled"
    assert client.responses.cancel(stopped.id) == cancelled
    show("cancel, twice with the same answer")


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it gets."""

    got: list[tuple[bytes, dict[str, str]]] = []  # noqa: RUF012 -- shared by all of a server's handlers, as is wanted

    def do_POST(self) -> None:
        """Takes a webhook."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((body, dict(self.headers)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def webhooks() -> None:
    """The server is told to call us, and what it says is verified."""
    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        receiver.timeout = 30
        hook = {"webhook_url": f"http://127.0.0.1:{receiver.server_port}/hook"}
        response = client.responses.create(
            model=model, input="What is known of subject eight?", background=True, extra_body=hook
        )
        receiver.handle_request()
    body, headers = Receiver.got[0]
    event = client.webhooks.unwrap(body, headers, secret=os.environ["OPENAI_WEBHOOK_SECRET"])
    assert (event.type, event.data.id) == ("response.completed", response.id)
    forged = "whsec_" + base64.b64encode(b"not the secret of this server...").decode()
    try:
        client.webhooks.unwrap(body, headers, secret=forged)
    except ValueError:
        show("webhooks.unwrap", client.responses.retrieve(event.data.id).output_text)


chat()
responses()
background()
webhooks()
