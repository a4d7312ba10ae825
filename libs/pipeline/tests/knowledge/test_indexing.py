import sqlite3

import pytest
from thinkpool_pipeline.knowledge.files import Stamp
from thinkpool_pipeline.knowledge.indexing import Indexer
from thinkpool_pipeline.knowledge.passages import CutDocument, IndexedDocument
from thinkpool_pipeline.knowledge.store import IndexWriter


def test_a_file_that_cannot_be_read_is_named_and_no_longer_indexed(folder, tmp_path):
    (folder / "a.md").write_text("words")
    indexer = Indexer(folder, tmp_path / "index.db", max_bytes={"text": 99})
    plan = indexer.plan()
    assert indexer.index(plan.batches[0], plan.stamps).documents == 1
    (folder / "a.md").unlink()
    progress = indexer.index(["a.md"], {"a.md": Stamp(1, 1)})
    assert (progress.documents, progress.errors) == (0, ("a.md: No such file or directory.",))
    indexer.close()


def test_documents_are_indexed_in_small_batches(folder, tmp_path):
    for number in range(45):
        (folder / f"{number:02}.md").write_text("x")
    (folder / "00.md").write_text("x" * 250_000)
    indexer = Indexer(folder, tmp_path / "index.db", max_bytes={"text": 999_999})
    assert [len(batch) for batch in indexer.plan().batches] == [1, 20, 20, 4]
    indexer.close()


def test_a_batch_that_fails_changes_nothing(tmp_path):
    writer = IndexWriter.open(tmp_path / "index.db", tmp_path)

    def fail() -> None:
        with writer.batch():
            document = IndexedDocument(document="a.md", title="A", cut=CutDocument(text="a", passages=()))
            writer.replace("a.md", Stamp(1, 1), [document])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert writer.counts() == (0, 0)
    writer.close()


def test_an_index_that_somebody_else_has_locked_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "index.db", isolation_level=None) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            IndexWriter.open(tmp_path / "index.db", tmp_path, busy_seconds=0.0)
        other.execute("COMMIT")
    other.close()
    assert (tmp_path / "index.db").exists()
