"""The offering service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.offering.service import OfferingService


def build(node: NodeContext) -> None:
    """Make the service."""
    node.bus.serve(OfferingService(node.jobs, node.tags))


MANIFEST = Manifest(package="cairn.services.offering", doc="Sizes of VMs and of data volumes.", build=build)
