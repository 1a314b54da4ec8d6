"""Machines that run VMs: connecting, watching, choosing one for a VM."""

from cairn.kernel.machine.machines import add_kind
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host import config
from cairn.services.host.allocator import Allocator
from cairn.services.host.capacity import HostCapacity
from cairn.services.host.closed import ClosedPlaces
from cairn.services.host.extensions import HostFilter
from cairn.services.host.kind import HostKind
from cairn.services.host.provided import HostAgents, HostLedger
from cairn.services.host.service import HostService


def build(node: NodeContext) -> tuple[object, ...]:
    kind = HostKind(node.events, node.extensions, node.report_url)
    agents = add_kind(node, kind)
    allocator = Allocator(lambda: node.extensions.of(HostFilter))
    node.bus.serve(HostService(node.store, node.jobs, agents))
    node.provide(HostAgents, agents)
    node.provide(HostLedger, allocator)
    node.extensions.add(ClosedPlaces(), name="host")
    capacity = node.loops.every(
        "capacity of hosts", lambda: 3600.0, HostCapacity(node.store, node.config).compute, at_once=True
    )
    for setting in (config.CPU_RATIO, config.RESERVED_MEMORY):
        node.config.listen(setting, capacity.wake)
    return kind, agents, allocator


MANIFEST = Manifest(package="cairn.services.host", build=build, requires=("zone", "cluster"))
