"""Notes about what happened to VMs, and the tickets that they were made for."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn_audit.service import AuditService


def build(node: NodeContext) -> None:
    node.bus.serve(AuditService(node.jobs, node.tags))


MANIFEST = Manifest(package="cairn_audit", build=build, requires=("vm", "host"), name="audit")
