from __future__ import annotations

import io

import pytest

from cairn.cli.up.report import Report


def test_each_step_is_a_line_with_tick_seconds_and_note() -> None:
    times = iter([0.0, 1.25, 2.0, 2.5])
    stream = io.StringIO()
    report = Report(stream, lambda: next(times))
    with report.step("make the network"):
        report.note("10.89.0.0/24")
    with pytest.raises(KeyError), report.step("add the image"):
        raise KeyError
    assert stream.getvalue().splitlines() == ["✔ make the network (1.2 s): 10.89.0.0/24", "✘ add the image (0.5 s)"]
    assert [(one.title, one.note) for one in report.done] == [("make the network", "10.89.0.0/24")]


def test_nobody_is_told_where_there_is_no_stream() -> None:
    report = Report(None)
    with report.step("x"):
        report.note("y")
    assert report.done[0].note == "y"


def test_how_far_a_step_is_is_told_to_people_who_watch() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    watched, kept = Terminal(), io.StringIO()
    for stream in (watched, kept):
        report = Report(stream)
        with report.step("write VMs"):
            report.progress(20, 100)
    assert "write VMs: 20 of 100" in watched.getvalue()
    assert "20 of 100" not in kept.getvalue()
