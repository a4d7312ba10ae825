import asyncio
import os
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.errors import ConfigurationError, ToolUnavailable
from thinkpool_pipeline.knowledge import IndexStatus, KnowledgeBase
from thinkpool_pipeline.knowledge.document_pages import page_end

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
async def patience():
    async with asyncio.timeout(20):
        yield


async def documents_found(knowledge: KnowledgeBase, query: str) -> list[str]:
    return [passage.document for passage in await knowledge.search(query)]


async def test_documents_are_found_with_their_title_heading_and_place(opened):
    knowledge = await opened({"guides/a.md": "# Guide\n\nHello.\n\n## Streams\n\nA *stream* resumes."})
    (passage,) = await knowledge.search("resumed streams")
    assert (passage.document, passage.title, passage.heading, passage.ordinal) == ("guides/a.md", "Guide", "Streams", 1)
    assert passage.text == "Streams\n\nA stream resumes."
    page = await knowledge.read("guides/a.md")
    assert page is not None
    assert page.text[passage.offset :] == passage.text


async def test_the_status_tells_what_is_indexed(opened):
    knowledge = await opened({"a.md": "One.", "b.txt": "Two.", "c.html": "<p>Three.", "d.png": b"\x89"})
    assert knowledge.status() == IndexStatus(documents=3, passages=3, indexed=3, total=3, is_ready=True)
    assert repr(knowledge) == "<KnowledgeBase [3 documents, 3 passages, ready]>"


async def test_changed_new_and_removed_files_are_noticed(opened, folder):
    knowledge = await opened({"change.md": "before", "remove.md": "removed", "stay.md": "stays"})
    (folder / "change.md").write_text("afterwards")
    (folder / "new.md").write_text("newcomer")
    (folder / "remove.md").unlink()
    status = await knowledge.refresh()
    assert status.documents == 3
    assert await documents_found(knowledge, "removed before") == []
    assert {*await documents_found(knowledge, "afterwards newcomer stays")} == {"change.md", "new.md", "stay.md"}


async def test_a_change_that_keeps_the_size_is_noticed(opened, folder):
    knowledge = await opened({"a.md": "first"})
    (folder / "a.md").write_text("other")
    os.utime(folder / "a.md", ns=(1, 1))
    await knowledge.refresh()
    assert await documents_found(knowledge, "other") == ["a.md"]


async def test_the_folder_is_looked_at_again_by_itself(opened, folder):
    knowledge = await opened({}, scan_seconds=0.0)
    (folder / "late.md").write_text("latecomer")
    while not (found := await documents_found(knowledge, "latecomer")):
        pass
    assert found == ["late.md"]


async def test_documents_that_did_not_change_are_not_read_again(opened, folder, tmp_path):
    await opened({"a.md": "kept"})
    os.utime(folder / "a.md", ns=(7, 7))
    async with KnowledgeBase(folder, tmp_path / "index.db") as first:
        await first.wait_until_ready()
    (folder / "a.md").write_text("lost")
    os.utime(folder / "a.md", ns=(7, 7))
    async with KnowledgeBase(folder, tmp_path / "index.db") as second:
        assert second.status().documents == 1
        assert await documents_found(second, "kept") == ["a.md"]


async def test_the_index_of_another_folder_is_made_anew(opened, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path, text in ((folder / "a.md", "here"), (other / "a.md", "gone")):
        path.write_text(text)
        os.utime(path, ns=(7, 7))
    await opened({})
    async with KnowledgeBase(other, tmp_path / "index.db") as knowledge:
        await knowledge.wait_until_ready()
        assert await documents_found(knowledge, "here") == []
        assert await documents_found(knowledge, "gone") == ["a.md"]


async def test_a_damaged_index_is_made_anew(opened, folder, tmp_path):
    (folder / "a.md").write_text("words")
    (tmp_path / "damaged.db").write_bytes(b"this is no database" * 100)
    async with KnowledgeBase(folder, tmp_path / "damaged.db") as knowledge:
        await knowledge.wait_until_ready()
        assert await documents_found(knowledge, "words") == ["a.md"]


async def test_an_index_of_an_older_version_is_made_anew(folder, tmp_path):
    with sqlite3.connect(tmp_path / "index.db") as older:
        older.execute("CREATE TABLE meta (something)")
    older.close()
    async with KnowledgeBase(folder, tmp_path / "index.db") as knowledge:
        assert (await knowledge.wait_until_ready()).is_ready


async def test_a_missing_folder_stops_the_start(folder, tmp_path):
    with pytest.raises(ConfigurationError, match="missing is not a directory"):
        async with KnowledgeBase(folder / "missing", tmp_path / "index.db"):
            pass


async def test_an_index_that_cannot_be_opened_stops_the_start(folder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        async with KnowledgeBase(folder, tmp_path / "file" / "index.db"):
            pass


async def test_a_folder_that_goes_away_keeps_its_index(opened, folder):
    knowledge = await opened({"a.md": "kept"})
    folder.rename(folder.with_name("moved"))
    status = await knowledge.refresh()
    assert status.documents == 1
    assert status.errors == ("The directory cannot be listed: No such file or directory.",)
    assert await documents_found(knowledge, "kept") == ["a.md"]


async def test_files_that_cannot_be_indexed_are_named(opened, folder):
    knowledge = await opened({"large.md": "x" * 50, "gone.md": "g", "good.md": "good"}, max_file_bytes=40)
    assert knowledge.status().errors == ("large.md: larger than 40 bytes.",)
    (folder / "large.md").unlink()
    assert (await knowledge.refresh()).errors == ()


async def test_a_file_that_cannot_be_read_is_named_and_no_longer_found(opened, folder):
    knowledge = await opened({"a.md": "readable", "b.md": "other"})
    (folder / "a.md").unlink()
    (folder / "a.md").symlink_to(folder / "b.md" / "nothing.md")
    assert (await knowledge.refresh()).documents == 1


async def test_only_indexed_documents_can_be_read(opened, folder, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    knowledge = await opened({"a.md": "open", "picture.png": b"x"})
    for document in (
        "../secret.md",
        str(tmp_path / "secret.md"),
        "a.md/../a.md",
        "./a.md",
        "picture.png",
        "",
        "\0",
        "%",
    ):
        assert await knowledge.read(document) is None
    assert await knowledge.read("a.md") is not None


async def test_a_document_is_read_page_by_page_without_loss(opened):
    text = "\n\n".join(f"Paragraph {number} has some words." for number in range(200))
    knowledge = await opened({"a.txt": text})
    pages, offset = [], 0
    while offset is not None:
        page = await knowledge.read("a.txt", offset, 500)
        assert page is not None
        assert len(page.text) <= 500
        pages.append(page.text)
        offset = page.next_offset
    assert "\n\n".join(pages) == text
    assert len(pages) > 10


@given(st.text(st.sampled_from("ab \n"), max_size=80), st.integers(0, 90), st.integers(1, 40))
def test_pages_always_move_on(text, offset, most):
    end = page_end(text, offset, most)
    assert end == len(text) or offset < end <= offset + most


async def test_searches_work_while_documents_are_indexed(opened, folder):
    knowledge = await opened({"a.md": "early"})
    for number in range(200):
        (folder / f"{number}.md").write_text(f"# Number {number}\n\n" + "late words. " * 200)
    seen: set[int] = set()
    async with asyncio.TaskGroup() as group:
        refreshing = group.create_task(knowledge.refresh())
        while not refreshing.done():
            assert await documents_found(knowledge, "early") == ["a.md"]
            seen.add(knowledge.status().indexed)
    assert len(seen) > 3
    assert knowledge.status().documents == 201


async def test_many_searches_at_once_get_their_own_answers(opened):
    knowledge = await opened({f"{number}.md": f"word{number}" for number in range(20)})
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(documents_found(knowledge, f"word{number}")) for number in range(20)]
    assert [task.result() for task in tasks] == [[f"{number}.md"] for number in range(20)]


async def test_two_refreshes_at_once_index_every_file_once(opened, folder):
    knowledge = await opened({})
    for number in range(50):
        (folder / f"{number}.md").write_text("word")
    first, second = await asyncio.gather(knowledge.refresh(), knowledge.refresh())
    assert first.documents == second.documents == 50
    assert first.indexed == second.indexed == 50


async def test_a_search_on_a_broken_index_is_a_tool_error(opened, tmp_path):
    knowledge = await opened({"a.md": "word"})
    with sqlite3.connect(tmp_path / "index.db") as vandal:
        vandal.execute("DROP TABLE documents")
    vandal.close()
    with pytest.raises(ToolUnavailable):
        await knowledge.search("word")
    status = await knowledge.refresh()
    assert status.errors[0].startswith("The index cannot be read")


async def test_errors_of_the_block_leave_it_as_they_are(folder, tmp_path):
    with pytest.raises(ZeroDivisionError):
        async with KnowledgeBase(folder, tmp_path / "index.db"):
            raise ZeroDivisionError


async def test_no_thread_and_no_file_stays_open(folder, tmp_path):
    before = threading.active_count()
    async with KnowledgeBase(folder, tmp_path / "index.db") as knowledge:
        await knowledge.wait_until_ready()
        await knowledge.search("word")
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert not (tmp_path / "index.db-wal").exists()


async def test_leaving_in_the_middle_of_indexing_ends_at_once_and_goes_on_later(folder, tmp_path):
    for number in range(200):
        (folder / f"{number}.md").write_text("word " * 2_000)
    async with KnowledgeBase(folder, tmp_path / "index.db") as knowledge:
        while not knowledge.status().indexed:
            await knowledge.search("word")
    assert not knowledge.status().is_ready
    async with KnowledgeBase(folder, tmp_path / "index.db") as knowledge:
        assert 0 < knowledge.status().documents < 200
        assert (await knowledge.wait_until_ready()).documents == 200
