from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from msgspec import Struct
from structlog import get_logger

from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.ids import JobId
from cairn.kernel.log import LogForm, configure, redact


class Login(Struct):
    name: str
    password: str


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    yield
    configure(level="warning")


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_event_is_one_json_line_with_time_level_logger_and_fields() -> None:
    stream = io.StringIO()
    configure(stream, "info", "json")
    get_logger("vm").bind(host="h").info("started\nat last", vm="v")
    line = written(stream)[0]
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "started\nat last", "level": "info", "logger": "vm", "host": "h", "vm": "v"}


def test_job_and_task_stack_come_from_the_context() -> None:
    stream = io.StringIO()
    configure(stream, "info", LogForm.JSON)
    with entered(CallContext(job=JobId("job-7"), stack=("vm.create", "choose-host"))):
        get_logger("vm").info("chosen")
    assert [(line["job"], line["task"]) for line in written(stream)] == [("job-7", "vm.create > choose-host")]


def test_levels_below_the_configured_one_write_nothing() -> None:
    stream = io.StringIO()
    configure(stream, "warning", LogForm.JSON)
    log = get_logger("vm")
    log.debug("a")
    log.info("b")
    log.warning("d")
    log.error("e")
    assert [line["event"] for line in written(stream)] == ["d", "e"]


def test_kept_loggers_follow_a_new_configuration() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(first, "info", LogForm.JSON)
    log = get_logger("vm")
    log.info("one")
    configure(second, "debug", LogForm.JSON)
    log.debug("two")
    assert (len(written(first)), len(written(second))) == (1, 1)


def test_exception_carries_its_trace() -> None:
    stream = io.StringIO()
    configure(stream, "info", LogForm.JSON)
    try:
        raise ZeroDivisionError("boom")
    except ZeroDivisionError:
        get_logger("vm").exception("failed")
    line = written(stream)[0]
    assert line["level"] == "error"
    assert "Traceback" in str(line["exception"])
    assert "ZeroDivisionError: boom" in str(line["exception"])


def test_secrets_are_never_written() -> None:
    stream = io.StringIO()
    configure(stream, "info", LogForm.JSON)
    get_logger("host").info(
        "added",
        password="p1",
        login=Login(name="root", password="p2"),
        headers={"Authorization": "p3", "X-Api-Key": "p4"},
        keys=[{"privateKey": "p5", "name": "mine"}],
        session_token="p6",
        no_password=None,
    )
    text = stream.getvalue()
    assert not [secret for secret in ("p1", "p2", "p3", "p4", "p5", "p6") if f'"{secret}"' in text]
    assert "root" in text
    assert "mine" in text


def test_redacting_copies_and_keeps_what_is_no_secret() -> None:
    fields = {"name": "x", "password": "p", "deep": {"token": "t", "list": ({"secretKey": "s"},)}}
    assert redact(fields) == {"name": "x", "password": "***", "deep": {"token": "***", "list": [{"secretKey": "***"}]}}
    assert fields["password"] == "p"


def test_console_form_writes_one_line_for_people() -> None:
    stream = io.StringIO()
    configure(stream, "info", LogForm.CONSOLE)
    get_logger("vm").info("started", vm="v")
    assert stream.getvalue().count("\n") == 1
    assert "started" in stream.getvalue()
    assert "vm=v" in stream.getvalue()


@pytest.mark.parametrize(("level", "form"), [("loud", "json"), ("info", "xml")])
def test_unknown_level_or_form_is_refused(level: str, form: str) -> None:
    with pytest.raises(ValueError, match=r"loud|xml"):
        configure(level=level, form=form)


def test_line_that_cannot_be_written_hurts_nobody() -> None:
    class FullDisk(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    full, closed = FullDisk(), io.StringIO()
    closed.close()
    for stream in (full, closed):
        configure(stream, "info", "json")
        get_logger("vm").info("started")
    assert full.getvalue() == ""
