"""The tree tells the architecture.

Tests and sources mirror each other, nouns' folders hold files of known names, nothing banned is called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.count_costs import untested, without_module

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cairn"

#: the files that return in every service and plugin
NAMES = {
    "__init__.py", "messages.py", "model.py", "machine.py", "service.py", "steps", "workflows.toml", "extensions.py", "errors.py",
    "provided.py", "manifest.py", "config.py", "tags.py", "migrations", "ansible",
}  # fmt: skip
#: a noun is small: further files it may have
MORE_FILES = 6

#: calls that take what a test has to own, and where they may stand
BANNED = {
    "time.time": {"kernel/clock.py", "agents/clock.py"},
    "time.monotonic": {"kernel/clock.py", "agents/clock.py"},
    "time.sleep": set[str](),
    "datetime.now": {"kernel/clock.py", "agents/clock.py"},
    "datetime.utcnow": set[str](),
    "asyncio.get_event_loop": set[str](),
    "random.random": set[str](),
    "random.choice": set[str](),
    "random.randint": set[str](),
}
#: edges of the house, where real time is the matter: people wait there, or processes are watched
EDGES = ("cli/", "lab/", "kernel/deploy/ansible/roles/", "testing/simulator.py")


def test_every_unit_test_has_its_module() -> None:
    assert without_module(ROOT) == set()


def test_every_module_has_its_unit_test() -> None:
    assert untested(ROOT) == set()


@pytest.mark.parametrize(
    "folder",
    [path for ring in ("services", "plugins") for path in sorted((SOURCE / ring).iterdir()) if path.is_dir()],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_folder_of_a_noun_holds_the_known_files(folder: Path) -> None:
    if folder.name == "__pycache__":
        return
    names = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert "manifest.py" in names
    assert len(names - NAMES) <= MORE_FILES, sorted(names - NAMES)


def test_nothing_banned_is_called() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {name}"
        for path in sorted(SOURCE.rglob("*.py"))
        if not str(path.relative_to(SOURCE)).startswith(EDGES)
        for name, line in _calls(ast.parse(path.read_text(encoding="utf-8")))
        if name in BANNED and str(path.relative_to(SOURCE)) not in BANNED[name]
    ]
    assert wrong == []


def _calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The names of what is called, as ``module.function``."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            yield f"{node.func.value.id}.{node.func.attr}", node.lineno


#: what repeats itself and is no `Loop`: the loop itself, and the heart and the way to the broker, needed before there are loops
REPEATS = {"kernel/loop.py", "kernel/membership.py", "kernel/bus/rabbit.py"}


def test_work_in_the_background_repeats_itself_in_loops_only() -> None:
    """`node.loops.every` supervises it: what ends by an exception somewhere else is missed by nobody until it is needed."""
    found = {
        name
        for path in sorted(SOURCE.rglob("*.py"))
        if not (name := str(path.relative_to(SOURCE))).startswith((*EDGES, "agents/", "simulator/", "testing/"))
        and any(map(_sleeps_for_ever, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found - REPEATS == set(), "declare it by node.loops.every"
    assert REPEATS - found <= {"kernel/loop.py"}


def _sleeps_for_ever(node: ast.AST) -> bool:
    """Whether this is a `while True` that sleeps, and is no try that is repeated until it has a result to return."""
    if not (isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value):
        return False
    if any(isinstance(one, ast.Return) and one.value is not None for one in ast.walk(node)):
        return False
    calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr in ("sleep", "call_later") for call in calls)
