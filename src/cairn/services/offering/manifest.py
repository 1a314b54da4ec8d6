"""The offering service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.offering.service import OfferingService


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    OfferingService(node.bus, node.jobs, node.tags, node.cascade)


MANIFEST = Manifest(
    package="cairn.services.offering",
    doc="Sizes of VMs and of data volumes.",
    build=build,
)
