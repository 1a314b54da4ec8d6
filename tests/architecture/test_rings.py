"""Imports point inward: from the cloud's nouns to the kernel, from the edges to both, never back, and never in a circle.

The innermost ring is `cairn.agents.protocol`: the contract between a node and its agents. It stands alone, imports nothing of
the house, and is all that the kernel knows of anything outside of itself. Then comes the kernel, which knows no noun of the
cloud; then services and plugins, each of which knows those that it requires; then the edges.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from tools.count_costs import IDS, NOUNS, both_ways, imports, known, required, tree_of

from cairn.bootstrap import load_plugins
from cairn.kernel.settings import load

SOURCE = Path(__file__).parents[2] / "src"
CAIRN = SOURCE / "cairn"

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

#: each service and plugin, with those that it imports of the others, or whose steps it lists
KNOWN = known(CAIRN)


@cache
def modules() -> dict[str, list[str]]:
    """Every module, with what it imports of the house."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.glob("cairn/**/*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = list(imports(tree_of(path)))
    return found


def part(module: str) -> str:
    """The part of the house that a module is in."""
    return module.split(".")[1] if "." in module else "__init__"


def noun(module: str) -> str:
    """The service or plugin that a module is of: ``services.vm``."""
    return ".".join(module.split(".")[1:3])


def is_allowed(module: str, imported: str) -> bool:
    """Whether a module may import another."""
    here, there = part(module), part(imported)
    if there in NOUNS and here in NOUNS:
        if noun(imported) in (noun(module), IDS):
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


def test_kernel_knows_nothing_outside_of_itself_but_the_agents_protocol() -> None:
    outside = {name for module, names in modules().items() if part(module) == "kernel" for name in names}
    outside = {name for name in outside if part(name) != "kernel"}
    assert outside, "the contract with agents is used"
    assert {name for name in outside if not f"{name}.".startswith("cairn.agents.protocol.")} == set()


def test_no_two_nouns_know_each_other_both_ways() -> None:
    assert both_ways(KNOWN) == set()


def test_every_noun_has_a_manifest_that_is_found() -> None:
    packages = {manifest.package.removeprefix("cairn.") for manifest in load_plugins(load({})).manifests}
    assert set(KNOWN) == packages - {"kernel"}


@pytest.mark.parametrize("noun", sorted(KNOWN))
def test_manifest_requires_what_its_package_imports(noun: str) -> None:
    assert required(CAIRN, noun) == {other.partition(".")[2] for other in KNOWN[noun]}


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
