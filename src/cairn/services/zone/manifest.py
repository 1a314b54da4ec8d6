"""Zones: data centers, rooms, sites."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.zone.service import ZoneService


def build(node: NodeContext) -> None:
    node.bus.serve(ZoneService(node.jobs, node.tags))


MANIFEST = Manifest(package="cairn.services.zone", build=build)
