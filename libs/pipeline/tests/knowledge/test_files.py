import os
import socket
from pathlib import Path

import pytest
from thinkpool_pipeline.knowledge.files import content, file_kind, scan

MOST = {"text": 9}


def test_documents_are_found_at_any_depth_and_named_by_their_path(folder):
    (folder / "b" / "c").mkdir(parents=True)
    for name in ("A.MD", "b/x.txt", "b/c/y.html", "b/picture.png", "b/noending"):
        (folder / name).write_text("x")
    assert list(scan(folder, max_bytes=MOST).stamps) == ["A.MD", "b/x.txt", "b/c/y.html"]


def test_hidden_files_and_folders_are_left_out(folder):
    (folder / ".git").mkdir()
    for name in (".git/a.md", ".hidden.md", "seen.md"):
        (folder / name).write_text("x")
    assert list(scan(folder, max_bytes=MOST).stamps) == ["seen.md"]


def test_links_are_followed_inside_the_folder_and_never_out_of_it(folder, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (folder / "real.md").write_text("x")
    (folder / "inside.md").symlink_to(folder / "real.md")
    (folder / "outside.md").symlink_to(tmp_path / "secret.md")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "broken.md").symlink_to(folder / "missing.md")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    assert list(scan(folder, max_bytes=MOST).stamps) == ["inside.md", "real.md"]


def test_what_becomes_a_link_out_of_the_folder_after_the_scan_is_not_read(folder, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (folder / "a.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(PermissionError):
        content(folder, "a.md", max_bytes=9)


def test_large_files_are_named_and_left_out(folder):
    (folder / "large.md").write_text("x" * 10)
    (folder / "small.md").write_text("x" * 9)
    found = scan(folder, max_bytes=MOST)
    assert (list(found.stamps), found.too_large) == (["small.md"], {"large.md": 9})


def test_what_is_no_regular_file_is_left_out(folder):
    os.mkfifo(folder / "pipe.md")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket.md"))
        assert not scan(folder, max_bytes=MOST).stamps


def test_a_name_that_is_not_text_is_left_out(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.md")).write_text("x")
    assert not scan(folder, max_bytes=MOST).stamps


def test_a_missing_folder_is_an_error(folder):
    with pytest.raises(FileNotFoundError):
        scan(folder / "missing", max_bytes=MOST)


def test_kinds_are_told_by_the_ending_and_a_kind_without_a_limit_is_not_read(folder):
    for name in ("a.md", "b.PDF", "c.db", "d.sqlite", "e.sqlite3", "f.png"):
        (folder / name).write_text("x")
    found = scan(folder, max_bytes={"text": 9, "database": 9})
    assert list(found.stamps) == ["a.md", "c.db", "d.sqlite", "e.sqlite3"]
    assert found.unread == ("b.PDF",)
    assert [file_kind(name) for name in ("x/a.htm", "b.pdf", "c.DB", "f.png")] == ["text", "pdf", "database", None]


def test_a_database_changes_with_the_log_beside_it(folder):
    (folder / "a.db").write_bytes(b"x" * 5)
    before = scan(folder, max_bytes={"database": 99}).stamps["a.db"]
    (folder / "a.db-wal").write_bytes(b"x" * 7)
    after = scan(folder, max_bytes={"database": 99}).stamps["a.db"]
    assert (before.size_bytes, after.size_bytes) == (5, 12)
    assert after.modified_ns >= before.modified_ns


def test_what_becomes_a_pipe_after_the_scan_does_not_hold_up_its_reader(folder):
    os.mkfifo(folder / "a.md")
    with pytest.raises(PermissionError):
        content(folder, "a.md", max_bytes=9)
