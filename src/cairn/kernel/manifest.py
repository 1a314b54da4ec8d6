"""The kernel's own tables, settings and steps, declared as any service declares its own."""

from __future__ import annotations

from cairn.kernel.machine.machines import Machines
from cairn.kernel.plugin.manifest import Manifest, NodeContext


def build(node: NodeContext) -> None:
    """Make what services register their own with."""
    node.provide(Machines, Machines())


MANIFEST = Manifest(
    package="cairn.kernel", name="kernel", doc="What all services stand on: jobs, workflows, settings.", build=build
)
