import re

import pytest
from thinkpool_server.cli import main


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"thinkpool \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: command"),
        (["ask"], "the following arguments are required: question"),
        (["serve", "--prot", "1"], "unrecognized arguments: --prot 1"),
        (["ask", "why", "me"], "unrecognized arguments: me"),
        (["think"], "invalid choice: 'think'"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_error_is_one_line_and_an_exit_code(capsys):
    assert main(["ask", "why?", "--url", "http://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "thinkpool: No server answers at http://127.0.0.1:1.\n"
