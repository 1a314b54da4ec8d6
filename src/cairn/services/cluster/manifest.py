"""The cluster service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.cluster.service import ClusterService


def build(node: NodeContext) -> None:
    """Make the service."""
    node.bus.serve(ClusterService(node.jobs, node.tags))


MANIFEST = Manifest(
    package="cairn.services.cluster",
    doc="Hosts of one kind that share networks and storage.",
    build=build,
    requires=("zone",),
)
