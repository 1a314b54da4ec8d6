"""The zone service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.zone.service import ZoneService


def build(node: NodeContext) -> None:
    """Make the service."""
    node.bus.serve(ZoneService(node.jobs, node.tags))


MANIFEST = Manifest(package="cairn.services.zone", doc="Data centers.", build=build)
