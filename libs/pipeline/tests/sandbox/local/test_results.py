import base64

import pytest
from thinkpool_pipeline.sandbox.local.oversight import Verdict
from thinkpool_pipeline.sandbox.local.results import kept_result, lost_result
from thinkpool_pipeline.sandbox.local.session import Reply
from thinkpool_pipeline.sandbox.local.wire import GarbledFrame
from thinkpool_pipeline.sandbox.protocols import CodeResult
from thinkpool_pipeline.values import ToolFile


def reply(*fields: bytes, verdict: Verdict | None = None, is_lost: bool = False) -> Reply:
    return Reply(fields=None if is_lost else fields, verdict=verdict, stdout="out", stderr="err")


LATE = Verdict(act="interrupt", reason="after 2 s")


def test_a_kept_result_has_its_error_and_its_files() -> None:
    assert kept_result(reply(b"", b"0")) == CodeResult(stdout="out", stderr="err")
    result = kept_result(reply(b"Oh\xff", b"0", b"a.png", b"3", b"abc", b"b", b"99", b""))
    assert result.error == "Oh\ufffd"
    assert result.files == (
        ToolFile(name="a.png", media_type="image/png", size_bytes=3, data_base64=base64.b64encode(b"abc").decode()),
        ToolFile(name="b", media_type="application/octet-stream", size_bytes=99),
    )
    assert kept_result(reply(b"Oh", b"0", verdict=LATE)).error == "Stopped after 2 s; names and files are kept.\nOh"
    assert kept_result(reply(b"", b"2")).stderr == "err\n[2 more files were made or changed, and stay in the sandbox.]"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"../../etc/x.txt", "_.._etc_x.txt"),
        (b"/a\x1b[0m\xff\\b\n", "_a_[0m\ufffd_b_"),
        (b"...", "file"),
        (b"", "file"),
        (b"n" * 500 + b".csv", "n" * 196 + ".csv"),
    ],
)
def test_a_files_name_is_made_harmless(name: bytes, shown: str) -> None:
    assert kept_result(reply(b"", b"0", name, b"0", b"")).files[0].name == shown


@pytest.mark.parametrize(
    "fields",
    [(), (b"",), (b"", b"0", b"name"), (b"", b"-1"), (b"", b""), (b"", b"0", b"a", b"x", b""), (b"", b"9" * 19)],
)
def test_a_reply_that_is_none_is_garbled(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(GarbledFrame):
        kept_result(reply(*fields))


@pytest.mark.parametrize(
    ("verdict", "status", "cause"),
    [
        (LATE, 137, "Killed after 2 s"),
        (None, 139, "The interpreter was ended by signal 11"),
        (None, 3, "The interpreter ended with exit status 3"),
    ],
)
def test_a_lost_result_says_what_happened_and_what_is_lost(verdict: Verdict | None, status: int, cause: str) -> None:
    with pytest.raises(GarbledFrame):
        kept_result(reply(is_lost=True))
    assert lost_result(reply(is_lost=True, verdict=verdict), status) == CodeResult(
        stdout="out", stderr="err", error=f"{cause}. The names and files of earlier calls are lost."
    )
