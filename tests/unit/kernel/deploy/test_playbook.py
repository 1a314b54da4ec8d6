from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from cairn.kernel.deploy.order import RunEnded, RunLine, TaskFailed, TaskStarted
from cairn.kernel.deploy.playbook import Narrator, count_tasks, descendants, explain


def told(*events: dict[str, object], tasks: int = 4, status: str = "successful") -> list[RunLine]:
    output = io.BytesIO()
    narrator = Narrator(output, tasks)
    for event in events:
        assert narrator.event(event) is False
    narrator.end(status)
    return [msgspec.json.decode(line, type=RunLine) for line in output.getvalue().splitlines()]


def task(name: str) -> dict[str, object]:
    return {"event": "playbook_on_task_start", "event_data": {"task": name}}


def test_tasks_are_told_with_a_percentage_that_stays_below_100() -> None:
    lines = told(*[task(f"agent : t{number}") for number in range(6)])

    assert lines[:-1] == [
        TaskStarted("t0", 0),
        TaskStarted("t1", 25),
        TaskStarted("t2", 50),
        TaskStarted("t3", 75),
        TaskStarted("t4", 99),
        TaskStarted("t5", 99),
    ]


def test_uncounted_playbook_has_no_percentage() -> None:
    assert told(task("t"), tasks=0)[0] == TaskStarted("t", 0)


def test_failures_are_told_and_ignored_ones_are_not() -> None:
    data: dict[str, object] = {"host": "h1", "task": "t", "res": {"msg": "no"}}
    lines = told(
        {"event": "runner_on_failed", "event_data": data},
        {"event": "runner_on_failed", "event_data": {**data, "ignore_errors": True}},
        {"event": "runner_on_unreachable", "event_data": data},
        {"event": "runner_on_ok", "event_data": data},
        {"event": "verbose", "event_data": None},
    )

    assert lines[:-1] == [TaskFailed("h1", "t", "no"), TaskFailed("h1", "t", "no", unreachable=True)]


def test_last_line_has_the_counts() -> None:
    stats = {"ok": {"h1": 3}, "changed": {"h1": 1}, "failures": {"h2": 1}, "dark": {"h3": 1}, "skipped": {}}

    lines = told({"event": "playbook_on_stats", "event_data": stats}, status="failed")

    assert lines == [RunEnded("failed", ok={"h1": 3}, changed={"h1": 1}, failed={"h2": 1}, unreachable={"h3": 1})]


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({}, "no message"),
        ({"msg": "no package"}, "no package"),
        ({"msg": "non-zero return code", "stderr": "a\n\nb\n", "stdout": "c"}, "non-zero return code: a | b"),
        ({"msg": "same", "stderr": "same", "stdout": "more"}, "same: more"),
        ({"msg": "MODULE FAILURE", "module_stdout": "Traceback"}, "MODULE FAILURE: Traceback"),
        ({"msg": "x", "results": [{"msg": "fine"}, {"msg": "bad", "failed": True}]}, "bad"),
    ],
)
def test_result_is_told_in_one_line(result: dict[str, object], sentence: str) -> None:
    assert explain(result) == sentence


def test_endless_message_is_cut_to_its_end() -> None:
    assert explain({"msg": "x" * 5000 + "end"}).endswith("end")
    assert len(explain({"msg": "x" * 5000})) == 1000


def test_tasks_are_counted_through_imported_roles_and_blocks(tmp_path: Path) -> None:
    playbook = tmp_path / "p.yml"
    playbook.write_text("""
- hosts: all
  tasks:
    - include_tasks: a.yml
    - ansible.builtin.import_role: {name: r}
    - ansible.builtin.import_role: {name: shared, tasks_from: other}
    - ansible.builtin.import_role: {name: nowhere}
""")
    own, shared = tmp_path / "roles" / "r" / "tasks", tmp_path / "shared" / "shared" / "tasks"
    own.mkdir(parents=True)
    shared.mkdir(parents=True)
    (own / "main.yml").write_text("- block: [{a: 1}, {b: !vault 2}]\n  rescue: [{c: 1}]\n- d: 1\n")
    (shared / "other.yml").write_text("- e: 1\n")
    (shared / "main.yml").write_text("- f: 1\n- g: 1\n")

    assert count_tasks(playbook, [tmp_path / "shared"]) == 1 + 3 + 1


def test_playbook_that_is_no_yaml_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("{")

    assert count_tasks(tmp_path / "p.yml", []) == 0


def test_descendants_are_found_to_any_depth_without_zombies(tmp_path: Path) -> None:
    for pid, parent, state in [(2, 1, "S"), (3, 2, "Z"), (4, 3, "R"), (5, 9, "S"), (6, 2, "X")]:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a ) b) {state} {parent} 0 0")
    (tmp_path / "7").mkdir()
    (tmp_path / "version").mkdir()

    assert sorted(descendants(1, tmp_path)) == [2, 4]
