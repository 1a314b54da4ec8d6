from __future__ import annotations

import json
import logging

import pytest

from cairn.agents import log


def test_line_is_json_with_the_ids_of_the_current_task(caplog: pytest.LogCaptureFixture) -> None:
    token = log.current.set({"task": "t1", "job": "j1"})
    try:
        with caplog.at_level(logging.INFO, logger="cairn.agent"):
            log.info("task.done", seconds=0.5)
        line = json.loads(log.JsonFormatter().format(caplog.records[0]))
    finally:
        log.current.reset(token)
    assert line["event"] == "task.done"
    assert (line["task"], line["job"], line["seconds"], line["level"]) == ("t1", "j1", 0.5, "info")
    assert line["time"].endswith("+00:00")


def test_exception_is_one_line_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("what")
    except ValueError:
        log.exception("failed")
    text = log.JsonFormatter().format(caplog.records[0])
    assert "\n" not in text
    assert "ValueError: what" in json.loads(text)["trace"]
