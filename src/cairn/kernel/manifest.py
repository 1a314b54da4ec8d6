"""The kernel's own tables, settings and steps, declared as any service declares its own."""

from __future__ import annotations

from cairn.kernel.machine.certificates import Certificates
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.rotation import Rotation
from cairn.kernel.plugin.manifest import Manifest, NodeContext


def build(node: NodeContext) -> None:
    """Make what services register their own with."""
    machines = Machines()
    node.provide(Machines, machines)
    node.bus.serve(machines)
    rotation = Rotation(node.authority, machines, node.store, node.ring, node.node)
    node.provide(Rotation, rotation)
    certificates = Certificates(node.authority, machines)
    node.provide(Certificates, certificates)
    node.metrics.certificates.read_from(certificates.ends)
    node.metrics.certificates_ending.read_from(certificates.ending)


MANIFEST = Manifest(
    package="cairn.kernel", name="kernel", doc="What all services stand on: jobs, workflows, settings.", build=build
)
