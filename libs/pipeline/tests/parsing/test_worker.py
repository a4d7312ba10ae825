import resource
import subprocess
import sys
from io import BytesIO

import orjson
from thinkpool_pipeline.parsing import WorkerLimits
from thinkpool_pipeline.parsing.frames import read_frame, write_frame
from thinkpool_pipeline.parsing.messages import READY, Request
from thinkpool_pipeline.parsing.worker import serve
from thinkpool_pipeline.testing.pdf_documents import pdf_document


def replies_to(*documents: tuple[str, bytes], rest: bytes = b"") -> list[dict[str, object]]:
    """What a worker says to these, with the CPU limit of this process put back afterwards."""
    requests, replies = BytesIO(), BytesIO()
    for kind, content in documents:
        write_frame(requests, orjson.dumps(Request(kind=kind, media_type="", address="")))
        write_frame(requests, content)
    requests.write(rest)
    requests.seek(0)
    limits = resource.getrlimit(resource.RLIMIT_CPU)
    try:
        serve(requests, replies, WorkerLimits(cpu_seconds=10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, limits)
    replies.seek(0)
    assert read_frame(replies) == READY
    return [orjson.loads(reply) for reply in iter(lambda: read_frame(replies), None)]


def test_a_worker_says_that_it_is_ready_then_answers_in_order_until_there_are_no_more():
    first, second = replies_to(("text", b"one"), ("markdown", b"# Two"))
    resident_bytes = first.pop("resident_bytes")
    assert first == {"title": "", "text": "one", "date": None, "is_cut": False, "page_starts": [], "reason": None}
    assert (second["title"], second["text"]) == ("Two", "# Two")
    assert isinstance(resident_bytes, int)
    assert resident_bytes > 1_000_000


def test_as_a_program_it_confines_itself_and_ends_with_its_requests():
    """Whatever libraries print must not get among the replies; and it is not enough memory that ends it."""
    requests = BytesIO()
    for content in (b"<p>The sea is deep.", b"\xe9" * 20_000_000, b"next"):
        write_frame(requests, orjson.dumps(Request(kind="html", media_type="", address="")))
        write_frame(requests, content)
    limits = orjson.dumps(WorkerLimits(memory_bytes=200_000_000)).decode()
    command = [sys.executable, "-m", "thinkpool_pipeline.parsing.worker", limits]
    worker = subprocess.run(command, input=requests.getvalue(), stdout=subprocess.PIPE, timeout=30, check=True)
    replies = BytesIO(worker.stdout)
    assert read_frame(replies) == READY
    sea, hungry, following = (orjson.loads(read_frame(replies) or b"") for _ in range(3))
    assert (sea["text"], hungry["reason"], following["text"]) == ("The sea is deep.", "too_hungry", "next")
    assert replies.read() == b""


def test_a_document_that_cannot_be_read_is_an_answer_and_not_the_end():
    refused, read = replies_to(("pdf", pdf_document(["x"], is_encrypted=True)), ("text", b"next"))
    assert (refused["reason"], refused["text"]) == ("encrypted", "")
    assert (read["reason"], read["text"]) == (None, "next")


def test_a_request_that_breaks_off_ends_the_worker():
    assert replies_to(rest=b"\0\0\0\2{") == []
    assert replies_to(rest=b"\0\0\0\2{}") == []
