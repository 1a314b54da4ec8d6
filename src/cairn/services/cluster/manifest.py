"""Hosts of one kind that share networks and storage."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.cluster.service import ClusterService


def build(node: NodeContext) -> None:
    node.bus.serve(ClusterService(node.jobs, node.tags))


MANIFEST = Manifest(package="cairn.services.cluster", build=build, requires=("zone",))
