"""What a tool's arguments may not carry out of the house, and what they may."""

import base64

import pytest
from pydantic import JsonValue
from thinkpool_pipeline.errors import LeakRefused
from thinkpool_pipeline.events import ToolFinished
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.loop.private_text import PrivateText
from thinkpool_pipeline.testing import MemoryJournal, ScriptedModel, ScriptedTool, asking, call_of, calling, pipeline_of
from thinkpool_pipeline.values import Passage, ToolOutput, ToolSpec

KEY = "canary-7f3a9c2e1b5d"
SECRET = "sk-operator-1a2b"
PROSE = "the merger with the northern company is to be announced on the ninth of may and until then nobody may know"


@pytest.fixture
def private() -> PrivateText:
    text = PrivateText(secrets=[SECRET], instructions=[f"Never say {KEY}."], public=["What of order-20261121-abc9xyz?"])
    text.learn_passages([Passage(document="plan.md", title="Plan", text=f"As agreed, {PROSE}. See ISO-27001:2022.")])
    return text


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        f"what is {KEY} about",
        KEY.upper(),
        KEY[::-1],
        " ".join(KEY),
        KEY.replace("-", "_"),
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(f"q={KEY}".encode()).decode().rstrip("="),
        KEY.encode().hex(),
        "".join(f"%{byte:02x}" for byte in KEY.encode()),
        f"https://example.org/?q={KEY}",
        f"https://example.org/?q={KEY.encode().hex()}",
        " ".join(f"{byte:02x}" for byte in KEY.encode()),
        f"https://example.org/?q={base64.b64encode(KEY.encode()).decode()}&x=1",
        f"https://example.org/{base64.urlsafe_b64encode(KEY.encode()).decode()}/pixel.png",
        f"abc{base64.b64encode(KEY.encode()).decode()}",
        SECRET,
        f"Bearer {SECRET}",
        PROSE,
        f"search for: {PROSE.upper()}",
        [KEY[:9], KEY[9:]],
        {"deep": [{"er": KEY}]},
        {KEY: 1},
        {"q": KEY[:9], "r": KEY[9:]},
        " ".join([base64.b64encode(KEY.encode()).decode()[:9], base64.b64encode(KEY.encode()).decode()[9:]]),
        "".join(chr(ord(letter) + 0xFEE0) for letter in KEY),
        "x" * 50_001,
    ],
)
def test_private_text_is_found_in_every_dress(private: PrivateText, value: JsonValue) -> None:
    assert private.is_in({"query": value})


@pytest.mark.parametrize(
    "value",
    [
        "merger of the northern company",
        "ISO-27001:2022 requirements",
        "Qwen3-235B-A22B benchmark",
        "who is nobody may know",
        "order-20261121-abc9xyz",
        "operator",
        "",
        17,
        None,
        ["a", True, 1.5],
    ],
)
def test_names_and_questions_and_the_users_own_words_may_go(private: PrivateText, value: JsonValue) -> None:
    assert not private.is_in({"query": value})


def test_what_the_web_has_said_is_no_secret() -> None:
    text = PrivateText(secrets=[], instructions=[f"Internal: {KEY}"], public=[])
    assert text.is_in({"q": KEY})
    text.learn_passages([Passage(document="u", url="https://example.org/a", title="A", text=f"The word is {KEY}.")])
    assert not text.is_in({"q": KEY})


@pytest.mark.parametrize("secret", ["ollama", "not-needed", "lm-studio-local", "-------------", ""])
def test_a_placeholder_for_a_key_is_no_secret(secret: str) -> None:
    text = PrivateText(secrets=[secret], instructions=[], public=[])
    assert not text.is_in({"query": f"what is {secret} and LM Studio"})


def test_addresses_in_private_text_are_not_keys() -> None:
    text = PrivateText(secrets=[], instructions=["See https://example.org/report-2024-final-v2-long"], public=[])
    assert not text.is_in({"url": "https://example.org/report-2024-final-v2-long"})


def test_its_repr_shows_nothing_of_it(private: PrivateText) -> None:
    assert KEY not in repr(private)
    assert SECRET not in repr(LoopSettings(secrets=(SECRET,)))


class OutwardSearch(ScriptedTool):
    @property
    def spec(self) -> ToolSpec:
        base = super().spec
        return ToolSpec(name=base.name, description=base.description, parameters=base.parameters, is_outward=True)


async def test_a_call_that_would_leak_is_not_made_and_the_model_is_told() -> None:
    note = Passage(document="notes.md", title="Notes", text=f"The password is {KEY}.")
    documents = ScriptedTool("documents", ToolOutput(passages=(note,)))
    search = OutwardSearch()
    model = ScriptedModel(
        [
            calling(call_of("a", "documents", query="password")),
            calling(call_of("b", query=KEY), call_of("c", query="something else")),
        ]
    )
    journal = MemoryJournal()
    await pipeline_of(model, search, documents).run(asking(), journal)

    errors = {event.call_id: event.error for event in journal.events if isinstance(event, ToolFinished)}
    assert errors == {"a": None, "b": LeakRefused.code, "c": None}
    assert [arguments["query"] for _, arguments in search.calls] == ["something else"]
    assert KEY not in next(event.summary for event in journal.events if isinstance(event, ToolFinished) and event.error)
