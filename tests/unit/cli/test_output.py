from __future__ import annotations

import pytest
from tests.unit.cli.fakes import UUID

from cairn.cli.client import Job, Progress
from cairn.cli.errors import Problem
from cairn.cli.output import cell, human_bytes, plain, print_problem, result, watching


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (128 << 20, "128 MiB"), (3 << 39, "1.5 TiB")]
)
def test_bytes_are_read_by_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_cells_are_flat() -> None:
    assert cell(None) == "-"
    assert cell(True) == "yes"
    assert cell(["a", "b"]) == "a, b"
    assert cell([{"ip": "1", "driverType": "virtio"}, {"ip": "2"}]) == "ip=1\nip=2"
    assert cell({"left": 1, "right": None}) == "left=1"


def test_what_an_answer_tells_beside_its_rows_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    result({"inventories": [{"holder": "host", "number": 2}], "phase": "Renewing", "behind": {"host": 1}})
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()[-3:]] == [
        ["host", "2"],
        ["phase", "Renewing"],
        ["behind", "host=1"],
    ]


def test_plain_text_keeps_lines_and_loses_escapes() -> None:
    assert plain("a\n\tb\x1b[2J\x9b") == "a\n\tb[2J"


def test_pipe_gets_a_line_for_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(silent=False) as watcher:
        for step in ("one", "one", "two"):
            watcher(Job(uuid=UUID, api="CreateZone", state="Running", progress=Progress(step, 10)))
    assert capsys.readouterr().err == "CreateZone: one (10 %)\nCreateZone: two (10 %)\n"


def test_texts_for_operators_stand_behind_what_they_belong_to(capsys: pytest.CaptureFixture[str]) -> None:
    cause = Problem(detail="No host fits.", code="host.no-capacity", operator="host-1: no memory\nhost-2: off")

    print_problem(Problem(title="Failed", detail="No.", code="vm.no", operator="first", cause=cause))

    assert capsys.readouterr().err.splitlines() == [
        "Failed: No.",
        "  for operators: first",
        "  because: No host fits. [host.no-capacity]",
        "  for operators: host-1: no memory",
        "    host-2: off",
        "  (code vm.no)",
    ]


def test_refused_call_shows_title_then_a_line_for_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    detail = "CreateZone was refused, and nothing was done.\nnam: unknown.\nname: missing."
    problem = Problem(
        title="Invalid API field",
        detail=detail,
        code="api.invalid-field",
        fields={"nam": "unknown", "name": "missing", "size": "not told above"},
    )

    print_problem(problem)

    assert capsys.readouterr().err.splitlines() == [
        "Invalid API field: CreateZone was refused, and nothing was done.",
        "  nam: unknown.",
        "  name: missing.",
        "  size: not told above",
        "  (code api.invalid-field)",
    ]
