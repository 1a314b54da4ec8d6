"""Virtual machines: creating, starting, stopping, removing, and seeing what they do by themselves."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.provided import HostAgents, HostDebts, HostLedger
from cairn.services.vm.config import EXPUNGE_INTERVAL
from cairn.services.vm.l2_users import VmsOnL2Network
from cairn.services.vm.messages import by_force
from cairn.services.vm.model import StrayVm
from cairn.services.vm.on_host import VmsOnHost
from cairn.services.vm.reconciler import VmReconciler
from cairn.services.vm.service import VmService
from cairn.services.vm.states import VmStates
from cairn.services.vm.upkeep.departures import Departures
from cairn.services.vm.upkeep.filters import GuestFilters
from cairn.services.vm.upkeep.served import ServedVms
from cairn.services.vm.upkeep.strays import Strays
from cairn.services.vm.upkeep.sweeper import VmSweeper
from cairn.services.volume.model import Volume


def build(node: NodeContext) -> tuple[VmStates, Strays, ServedVms]:
    agents, ledger = node.need(HostAgents), node.need(HostLedger)
    states = VmStates(node.events)
    strays = Strays(node.store, node.ids, agents, ledger)
    node.invalidation.on(StrayVm, strays.changed)
    reconciler = VmReconciler(node.bus, node.store, node.clock, node.events, states, agents, ledger, strays)
    sweeper = VmSweeper(node.store, node.jobs, node.clock, node.ids, node.config)
    sweeping = node.loops.every("sweep destroyed VMs", sweeper.seconds, sweeper.sweep, once_per_cloud=True)
    node.config.listen(EXPUNGE_INTERVAL, sweeping.wake)
    node.bus.serve(VmService(node.store, node.jobs, node.lazy_flows(), agents))
    node.bus.serve(reconciler)
    served = ServedVms(node.bus, node.extensions)
    node.bus.serve(served)
    departures = Departures(
        node.store,
        node.bus,
        node.queues,
        node.events,
        served,
        states,
        agents,
        ledger,
        node.need(HostDebts),
    )
    node.bus.serve(departures)
    node.reports.route("vm.state", reconciler.reported)
    node.extensions.add(reconciler, name="vm")
    node.extensions.add(GuestFilters(node.store, agents), name="vm-filters")
    node.extensions.add(VmsOnHost(strays), name="vm")
    node.extensions.add(VmsOnL2Network(), name="vm")
    node.cascade.register("VmInstance", by_force)
    node.cascade.register_rows(
        Volume, lambda row: by_force(row.vm_instance_uuid) if row.vm_instance_uuid is not None else []
    )
    return states, strays, served


MANIFEST = Manifest(
    package="cairn.services.vm",
    build=build,
    requires=("host", "image", "l2", "l3", "offering", "primary_storage", "volume"),
)
