"""Sizes of VMs and of data volumes."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.offering.service import OfferingService


def build(node: NodeContext) -> None:
    node.bus.serve(OfferingService(node.jobs, node.tags))


MANIFEST = Manifest(package="cairn.services.offering", build=build)
