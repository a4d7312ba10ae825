import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from thinkpool_server.logs import configure_logging
from thinkpool_server.settings import Settings, load_settings

CANARY = "canary-8f3a"


def settings(**changes: object) -> Settings:
    return load_settings(
        None,
        base_url="http://127.0.0.1:1/v1",
        default_model_name="m",
        api_key=f"{CANARY}-model",
        serper_api_key=f"{CANARY}-\\serper",
        server_api_keys=f"a:{CANARY}-alice",
        **changes,
    )


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    text = io.StringIO()
    configure_logging(settings(), text)
    yield text
    root.handlers[:], root.level = before[0], before[1]
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_line_with_the_runs_id(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(run_id="r1"):
        structlog.stdlib.get_logger("thinkpool.x").info("a\r\nb", detail="c\nd")
    (line,) = lines(stream)
    assert line["event"] == "a\r\nb"
    assert (line["run_id"], line["level"], line["logger"]) == ("r1", "info", "thinkpool.x")


def test_a_librarys_records_look_the_same(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("hello %s", "you", extra={"more": 1})
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["more"]) == ("hello you", "warning", 1)


def test_secrets_are_cut_out_wherever_they_come_from(stream: io.StringIO) -> None:
    log = structlog.stdlib.get_logger("thinkpool.x")
    log.info("key %s", f"{CANARY}-model", url=f"http://h/?k={CANARY}-model", nested={"a": [f"{CANARY}-\\serper"]})
    log.info("headers", authorization="Bearer abcdefgh12345", api_key="zzz")
    logging.getLogger("lib").error("upstream said Authorization: Bearer 0123456789abcdef")
    try:
        raise ValueError(f"no: {CANARY}-alice")
    except ValueError:
        log.exception("failed")
    written = stream.getvalue()
    assert len(lines(stream)) == 4
    assert "Traceback" in written
    for secret in (CANARY, "0123456789abcdef", "abcdefgh12345", "zzz"):
        assert secret not in written


def test_every_secret_setting_is_known() -> None:
    assert settings().secrets == {f"{CANARY}-model", f"{CANARY}-\\serper", f"{CANARY}-alice"}


def test_content_is_hidden_unless_asked_for(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("x").info("asked", question="private", report="private")
    assert "private" not in stream.getvalue()


def test_content_is_logged_when_asked_for(stream: io.StringIO) -> None:
    configure_logging(settings(log_content=True), stream)
    structlog.stdlib.get_logger("x").info("asked", question="public")
    assert "public" in stream.getvalue()


def test_what_utf8_cannot_carry_is_logged_all_the_same(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("x").info("odd", value="\ud800")
    assert len(lines(stream)) == 1


def test_a_short_key_does_not_eat_the_log() -> None:
    text = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logging(load_settings(None, base_url="http://h/v1", default_model_name="m", api_key="e"), text)
    structlog.stdlib.get_logger("x").info("hello")
    root.handlers[:], root.level = before[0], before[1]
    structlog.reset_defaults()
    assert "hello" in text.getvalue()


def test_levels_below_the_chosen_one_are_dropped(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("x").debug("quiet")
    logging.getLogger("dbos").info("quiet")
    assert stream.getvalue() == ""
