"""Machines that run VMs: connecting, watching, choosing one for a VM."""

from cairn.kernel.machine.machines import add_kind
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host import config
from cairn.services.host.capacity import HostCapacity
from cairn.services.host.closed import ClosedPlaces
from cairn.services.host.config import SYNC_RETRY
from cairn.services.host.debts import Debts
from cairn.services.host.extensions import HostFilter
from cairn.services.host.kind import HostKind
from cairn.services.host.model import HostDebt, HostFault
from cairn.services.host.placement.allocator import Allocator
from cairn.services.host.provided import HostAgents, HostDebts, HostLedger, HostSyncs
from cairn.services.host.service import HostService
from cairn.services.host.syncs import Syncs


def build(node: NodeContext) -> tuple[object, ...]:
    kind = HostKind(node.events, node.extensions, node.report_url)
    agents = add_kind(node, kind)
    allocator = Allocator(lambda: node.extensions.of(HostFilter))
    syncs = Syncs(node.store, node.bus, node.ids, node.events)
    node.invalidation.on(HostFault, syncs.reread)
    syncing = node.loops.every("host syncs", lambda: float(node.config.get(SYNC_RETRY)), syncs.round)
    node.config.listen(SYNC_RETRY, syncing.wake)
    node.bus.serve(syncs)
    node.ring.listen(lambda change: syncs.hosts_moved())
    debts = Debts(node.store, node.ids, node.jobs, syncs)
    node.invalidation.on(HostDebt, debts.changed)
    node.bus.serve(HostService(node.store, node.jobs, agents))
    node.bus.serve(debts)
    node.provide(HostAgents, agents)
    node.provide(HostLedger, allocator)
    node.provide(HostDebts, debts)
    node.provide(HostSyncs, syncs)
    node.background += [syncs, debts]
    node.extensions.add(ClosedPlaces(), name="host")
    capacity = node.loops.every(
        "capacity of hosts",
        lambda: 3600.0,
        HostCapacity(node.store, node.config).compute,
        at_once=True,
        once_per_cloud=True,
    )
    for setting in (config.CPU_RATIO, config.RESERVED_MEMORY):
        node.config.listen(setting, capacity.wake)
    return kind, agents, allocator, debts


MANIFEST = Manifest(package="cairn.services.host", build=build, requires=("zone", "cluster"))
