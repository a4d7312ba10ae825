"""Which addresses a run may read."""

import pytest
from thinkpool_pipeline.addresses import addresses_in
from thinkpool_pipeline.citations import CitationRegistry
from thinkpool_pipeline.loop.known_addresses import KnownAddresses
from thinkpool_pipeline.values import Message, Passage, Question


def known(*passages: Passage, question: str = "Why?", system: str = "") -> KnownAddresses:
    messages = (Message(role="system", content=system), Message(role="user", content=question))
    registry = CitationRegistry()
    addresses = KnownAddresses(Question(messages=messages), registry)
    assert "https://unseen.example.org/" not in addresses
    registry.register(passages)
    return addresses


def test_what_the_user_wrote_is_known() -> None:
    assert "https://example.org/a" in known(question="What does (https://example.org/a) say?")


def test_a_source_and_the_links_in_its_text_are_known() -> None:
    page = Passage(
        document="https://example.org/a",
        url="https://EXAMPLE.org/a#top",
        title="A",
        text="See [more](https://example.org/b_(c)), <https://example.org/d>, and https://example.org/e?x=1&y=2.",
    )
    addresses = known(page)

    for path in ("a", "b_(c)", "d", "e?x=1&y=2"):
        assert f"https://example.org/{path}" in addresses


def test_links_of_a_local_document_are_known() -> None:
    assert "https://example.org/x" in known(
        Passage(document="notes.md", title="Notes", text="From https://example.org/x\n")
    )


def test_what_the_run_made_itself_gives_no_address() -> None:
    made = Passage(
        document="python:1", title="Output", text="https://example.org/?q=secret", url=None, is_own_work=True
    )
    assert "https://example.org/?q=secret" not in known(made)


def test_an_extraction_gives_no_address_that_its_page_does_not_have() -> None:
    page = Passage(
        document="https://example.org/a",
        url="https://example.org/a",
        title="A",
        text="Nothing.",
        shown="Go to https://example.org/?q=secret",
    )
    assert "https://example.org/?q=secret" not in known(page)


def test_the_system_message_gives_no_address() -> None:
    assert "https://example.org/inside" not in known(system="Our wiki is https://example.org/inside")


def test_a_longer_address_is_another_one() -> None:
    addresses = known(question="https://example.org/a")

    assert "https://example.org/a?q=secret" not in addresses
    assert "https://example.org/" not in addresses


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(see https://example.org/a).", ["https://example.org/a"]),
        ("[a](https://example.org/a) [b](https://example.org/b)", ["https://example.org/a", "https://example.org/b"]),
        ("https://example.org/x_(y)_z", ["https://example.org/x_(y)_z"]),
        ("**https://example.org/a**", ["https://example.org/a"]),
        ("HTTPS://Example.ORG/A#part", ["https://example.org/A"]),
        ("ftp://example.org/a, file:///etc/passwd, javascript:alert(1)", []),
        ("https://user:word@example.org/a", []),
        ("https://", []),
        ('"https://example.org/a"', ["https://example.org/a"]),
    ],
)
def test_addresses_are_found_in_prose_and_in_links(text: str, found: list[str]) -> None:
    assert list(addresses_in(text)) == found
