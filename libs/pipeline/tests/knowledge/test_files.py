import os
import socket
from pathlib import Path

import pytest
from thinkpool_pipeline.knowledge.files import content, scan


def test_documents_are_found_at_any_depth_and_named_by_their_path(folder):
    (folder / "b" / "c").mkdir(parents=True)
    for name in ("A.MD", "b/x.txt", "b/c/y.html", "b/picture.png", "b/noending"):
        (folder / name).write_text("x")
    assert list(scan(folder, max_file_bytes=9).stamps) == ["A.MD", "b/x.txt", "b/c/y.html"]


def test_hidden_files_and_folders_are_left_out(folder):
    (folder / ".git").mkdir()
    for name in (".git/a.md", ".hidden.md", "seen.md"):
        (folder / name).write_text("x")
    assert list(scan(folder, max_file_bytes=9).stamps) == ["seen.md"]


def test_links_are_followed_inside_the_folder_and_never_out_of_it(folder, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (folder / "real.md").write_text("x")
    (folder / "inside.md").symlink_to(folder / "real.md")
    (folder / "outside.md").symlink_to(tmp_path / "secret.md")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "broken.md").symlink_to(folder / "missing.md")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    assert list(scan(folder, max_file_bytes=9).stamps) == ["inside.md", "real.md"]


def test_what_becomes_a_link_out_of_the_folder_after_the_scan_is_not_read(folder, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (folder / "a.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(PermissionError):
        content(folder, "a.md", max_file_bytes=9)


def test_large_files_are_named_and_left_out(folder):
    (folder / "large.md").write_text("x" * 10)
    (folder / "small.md").write_text("x" * 9)
    found = scan(folder, max_file_bytes=9)
    assert (list(found.stamps), found.too_large) == (["small.md"], ("large.md",))


def test_what_is_no_regular_file_is_left_out(folder):
    os.mkfifo(folder / "pipe.md")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket.md"))
        assert not scan(folder, max_file_bytes=9).stamps


def test_a_name_that_is_not_text_is_left_out(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.md")).write_text("x")
    assert not scan(folder, max_file_bytes=9).stamps


def test_a_missing_folder_is_an_error(folder):
    with pytest.raises(FileNotFoundError):
        scan(folder / "missing", max_file_bytes=9)
