"""What counts as what, in a checkout of a few lines."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest
from tools import count_costs
from tools.count_costs import COSTS, Cost

MANIFEST = 'MANIFEST = Manifest(package="p", requires={requires})\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def write(root: Path, name: str, text: str) -> Path:
    path = root / "src" / "cairn" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def noun(root: Path, name: str, *, requires: str = "()", imports: str = "") -> None:
    write(root, f"{name}/__init__.py", "")
    write(root, f"{name}/manifest.py", MANIFEST.format(requires=requires))
    write(root, f"{name}/service.py", imports)


def test_names_and_texts_are_named_docstrings_and_comments_are_not(root: Path) -> None:
    file = write(
        root,
        "a.py",
        '"""A reboot."""\n\n# reboot\nx = "reboot"\ndef reboot() -> None:\n    """Reboot."""\n    reboot(y)\nz = 1\n',
    )
    assert count_costs.named(file, re.compile("reboot", re.IGNORECASE)) == {4, 5, 7}


def test_workflow_files_name_their_steps(root: Path) -> None:
    file = write(root, "workflows.toml", '[workflow."vm.start"]\nsteps = ["vm.begin", "vm.on-host"]\n')
    assert count_costs.named(file, re.compile("vm.on-host")) == {2}


@pytest.mark.parametrize(
    ("line", "carries"),
    [
        ("f(memory_bytes=vm.memory_size)", True),
        ("f(memory_size=memory_size)", True),
        ("memory_bytes: int", True),
        ("def f(memory_bytes: int): pass", True),
        ("f(memory_bytes=0)", False),
        ("f(memory_bytes=vm.memory_size + 1)", False),
        ("x = vm.memory_size // 1024", False),
    ],
)
def test_line_only_carries_a_field_where_it_does_nothing_with_it(line: str, carries: bool) -> None:
    assert bool(count_costs.carrying_lines(ast.parse(line), declares=False)) is carries


def test_field_of_a_message_or_record_is_declared_there_not_carried() -> None:
    assert count_costs.carrying_lines(ast.parse("memory_size: int"), declares=True) == set()


def test_field_is_counted_by_files_and_lines(root: Path) -> None:
    write(root, "services/vm/messages.py", "memory_size: int\n")
    write(root, "services/vm/service.py", "f(memory_size=m.memory_size)\ng(m.memory_size)\n")
    write(root, "services/zone/service.py", "memory_size\n")
    assert count_costs.field(root).figures == {"files": 2, "lines": 3, "lines that only carry it": 1}


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ("from x import (\n    a,\n    RebootVm,\n)\n", {1}),
        ("steps = [\n    A(),\n    BeginReboot(states),\n    RebootOnHost(states),\n]\n", {1}),
        ("t = {Op.REBOOT: 1}\n", {1}),
        ("bus.register(RebootVm, self.x)\n", {1}),
        ("class A(Step[RebootInput, Nothing]): pass\n", set()),
        ("x = RebootVm()\nself.run(RebootVm)\n", set()),
    ],
)
def test_list_that_names_a_message_is_told_from_its_use(root: Path, text: str, lists: set[int]) -> None:
    assert count_costs.lists_naming(write(root, "a.py", text), re.compile("reboot", re.IGNORECASE)) == lists


def test_workflows_that_list_a_step_are_lists(root: Path) -> None:
    file = write(root, "w.toml", '[workflow."a"]\nsteps = ["vm.reboot"]\n[workflow."b"]\nsteps = ["x"]\n')
    assert count_costs.lists_naming(file, re.compile("reboot")) == {1}


def test_step_is_counted_by_its_class_and_its_name(root: Path) -> None:
    write(root, "services/vm/steps.py", 'class StartOnHost:\n    name = "vm.start-on-host"\n    x = StartOnHostInput\n')
    write(root, "services/vm/workflows.toml", '[workflow."v"]\nsteps = ["vm.start-on-host"]\n')
    assert count_costs.step(root).figures == {"files": 2, "lines": 3}


def test_lines_are_all_lines(root: Path) -> None:
    noun(root, "services/zone", imports="a\n\n# b\n")
    assert count_costs.noun(root).figures == {"files": 2, "lines": 4}
    write(root, "kernel/machines.py", "x\n")
    figures = count_costs.sizes(root).figures
    assert (figures["manifests"], figures["src/cairn"]) == (1, 5)
    assert figures["services/host + services/backup_storage + kernel/machine*"] == 1


def test_only_a_text_as_second_argument_is_a_lookup_by_string(root: Path) -> None:
    write(root, "a.py", 'e.named(A, "host")\ne.named(A, kind)\ne.named(A)\nnamed(A, "host")\n')
    assert count_costs.string_lookups(root).found == ["a.py:1"]


def test_nouns_that_know_each_other_both_ways_are_seen(root: Path) -> None:
    noun(root, "services/a", imports="from cairn.services.b.model import B\nimport cairn.services.c.model\n")
    noun(root, "services/b", imports="def f():\n    from cairn.services.a.model import A\n")
    noun(root, "services/c", imports="from cairn.services.c.model import C\nfrom cairn.kernel.api import Api\n")
    known = count_costs.known(root / "src" / "cairn")
    assert known == {
        "services.a": {"services.b", "services.c"},
        "services.b": {"services.a"},
        "services.c": set(),
    }
    assert count_costs.both_ways(known) == {("services.a", "services.b")}


def test_manifest_that_requires_other_names_than_it_imports_is_seen(root: Path) -> None:
    noun(root, "services/a")
    noun(root, "services/b", requires='("a",)', imports="from cairn.services.a.model import A\n")
    noun(root, "plugins/c", requires='("b",)', imports="from cairn.services.a.model import A\n")
    assert count_costs.requiring_others(root / "src" / "cairn") == {"plugins.c": ({"a"}, {"b"})}
    assert count_costs.circles(root).figures == {"pairs both ways": 0, "manifests that differ": 1}


@pytest.mark.parametrize(
    ("source", "declares"),
    [
        ('"""Doc."""\nSIZE = 1\n', True),
        ('class A(Protocol):\n    def f(self) -> int:\n        """What."""\n', True),
        ("class A(Protocol):\n    @property\n    def f(self) -> int: ...\n", True),
        ("def f() -> int:\n    return 1\n", False),
        ("class A:\n    async def f(self) -> None:\n        self.x = 1\n", False),
    ],
)
def test_what_only_declares_is_told_from_what_does_something(source: str, declares: bool) -> None:
    assert count_costs.only_declares(ast.parse(source)) is declares


def test_modules_and_tests_that_lack_each_other_are_seen(root: Path) -> None:
    does = "def f():\n    return 1\n"
    write(root, "kernel/tested.py", does)
    write(root, "kernel/untested.py", does)
    write(root, "kernel/limits.py", "A = 1\n")
    write(root, "services/a/messages.py", does)
    write(root, "plugins/a/migrations/versions/0001.py", does)
    unit = root / "tests" / "unit" / "kernel"
    unit.mkdir(parents=True)
    (unit / "test_tested.py").touch()
    (unit / "test_gone.py").touch()
    assert count_costs.untested(root) == {"kernel/untested.py"}
    assert count_costs.without_module(root) == {"kernel/test_gone.py"}


def test_this_checkout_is_counted_and_every_rule_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["count_costs.py", "--json"])
    count_costs.main()
    costs = [Cost(**cost) for cost in json.loads(capsys.readouterr().out)]
    assert len(costs) == len(COSTS)
    for name in ("a field", "a message", "a step", "the smallest noun", "lines"):
        (cost,) = (cost for cost in costs if cost.name.startswith(name))
        assert all(cost.figures.values()), cost
    told = count_costs.text_of(costs)
    assert all(cost.rule in told for cost in costs)
