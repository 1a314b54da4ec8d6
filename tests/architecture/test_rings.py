"""Imports point inward: from the cloud's nouns to the kernel, from the edges to both, never back, and never across."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

#: what each part of the house may import of the others; of itself it may import everything
ALLOWED: dict[str, tuple[str, ...]] = {
    "kernel": ("cairn.agents.protocol",),
    "agents": (),
    "gateway": ("cairn.kernel", "cairn.agents.protocol"),
    "services": ("cairn.kernel", "cairn.agents.protocol"),
    "plugins": ("cairn.kernel", "cairn.agents.protocol"),
    "simulator": ("cairn.kernel", "cairn.agents.protocol"),
    "lab": ("cairn.kernel",),
    "migrations": ("cairn.kernel.store",),
    "testing": ("cairn",),
    "cli": ("cairn",),
    "bootstrap": ("cairn",),
    "__init__": (),
}
#: what services and plugins may import of a service that is not their own: what it says, and the records to read (ADR 2)
SPOKEN = ("messages", "extensions", "provided", "model")


@cache
def modules() -> dict[str, list[str]]:
    """Every module, with what it imports of the house."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.glob("cairn/**/*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = list(_imports(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cairn":
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "cairn")


def part(module: str) -> str:
    """The part of the house that a module is in."""
    return module.split(".")[1] if "." in module else "__init__"


def noun(module: str) -> str:
    """The service or plugin that a module is of: ``services.vm``."""
    return ".".join(module.split(".")[1:3])


def is_allowed(module: str, imported: str) -> bool:
    """Whether a module may import another."""
    here, there = part(module), part(imported)
    if there in ("services", "plugins") and here in ("services", "plugins"):
        if noun(module) == noun(imported):
            return True
        return there == "services" and imported.split(".")[3:4] != [] and imported.split(".")[3] in SPOKEN
    if here == there:
        return True
    return any(imported == root or imported.startswith(f"{root}.") for root in ALLOWED[here])


def test_every_part_of_the_house_is_known() -> None:
    assert {part(module) for module in modules()} == set(ALLOWED)


def test_imports_point_inward() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, names in modules().items()
        for imported in names
        if not is_allowed(module, imported)
    ]
    assert wrong == []


def test_agents_protocol_stands_alone() -> None:
    inside = {name: imports for name, imports in modules().items() if name.startswith("cairn.agents.protocol")}
    assert inside
    assert [name for imports in inside.values() for name in imports if "agents.protocol" not in name] == []


def test_only_commands_and_tests_put_a_node_together() -> None:
    users = {part(name) for name, imports in modules().items() if "cairn.bootstrap" in imports}
    assert users == {"cli", "testing"}


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("cairn.kernel.jobs", "cairn.services.vm.messages"),
        ("cairn.kernel.jobs", "cairn.gateway.http"),
        ("cairn.kernel.jobs", "cairn.agents.kvm.vms"),
        ("cairn.services.vm.service", "cairn.plugins.kvm.model"),
        ("cairn.services.vm.service", "cairn.services.host.kind"),
        ("cairn.services.vm.service", "cairn.services.host.steps.claim"),
        ("cairn.plugins.kvm.service", "cairn.plugins.local_storage.model"),
        ("cairn.plugins.kvm.service", "cairn.services.host.kind"),
        ("cairn.gateway.http", "cairn.services.identity.messages"),
        ("cairn.agents.main", "cairn.kernel.clock"),
        ("cairn.simulator.main", "cairn.services.vm.messages"),
        ("cairn.kernel.jobs", "cairn.bootstrap"),
    ],
)
def test_what_points_outward_is_seen(module: str, imported: str) -> None:
    assert not is_allowed(module, imported)
