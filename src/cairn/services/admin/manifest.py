"""The node itself: settings, workflows, queues, plugins, housekeeping."""

from cairn.kernel.machine.certificates import Certificates
from cairn.kernel.machine.rotation import Rotation
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.kernel.takeover import Takeover
from cairn.services.admin.housekeeping import keep_house
from cairn.services.admin.nodes import NodeService
from cairn.services.admin.service import AdminService


def build(node: NodeContext) -> None:
    node.bus.serve(
        AdminService(
            node.store,
            node.jobs,
            node.lazy_flows(),
            lambda: node.need(Takeover),
            node.config,
            node.queues,
            node.clock,
            node.loaded,
            node.events,
            node.troubles,
            node.need(Certificates),
            node.need(Rotation),
            node.bus,
            node.duties,
        )
    )
    node.bus.serve(NodeService(node.store, node.jobs, node.clock))
    keep_house(node.loops, node.store, node.clock, node.config, node.jobs, node.events)


MANIFEST = Manifest(package="cairn.services.admin", build=build)
