"""The audit plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn_audit.service import AuditService


def build(node: NodeContext) -> None:
    """Make the plugin's objects, once for each node."""
    node.bus.serve(AuditService(node.jobs, node.tags))


MANIFEST = Manifest(
    package="cairn_audit",
    doc="Notes about what happened to VMs, and the tickets that they were made for.",
    build=build,
    requires=("vm", "host"),
    name="audit",
)
