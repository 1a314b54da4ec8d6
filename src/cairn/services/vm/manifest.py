"""The VM service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.extensions import HostPinged, HostRemoval
from cairn.services.host.provided import HostAgents, HostLedger
from cairn.services.l2.extensions import L2NetworkUsers
from cairn.services.vm.l2_users import VmsOnL2Network
from cairn.services.vm.messages import DestroyVmInstance, ExpungeVmInstance
from cairn.services.vm.on_host import VmsOnHost
from cairn.services.vm.reconciler import VmReconciler
from cairn.services.vm.service import VmService
from cairn.services.vm.states import VmStates


def build(node: NodeContext) -> tuple[VmStates]:
    """Make the service's objects."""
    agents, ledger = node.need(HostAgents), node.need(HostLedger)
    states = VmStates(node.events)
    reconciler = VmReconciler(node.bus, node.store, node.clock, node.events, states, agents, ledger)
    node.bus.serve(VmService(node.store, node.jobs, node.lazy_flows(), agents))
    node.bus.serve(reconciler)
    node.reports.route("vm.state", reconciler.reported)
    node.extensions.provide(HostPinged, reconciler, name="vm")
    node.extensions.provide(HostRemoval, VmsOnHost(), name="vm")
    node.extensions.provide(L2NetworkUsers, VmsOnL2Network(), name="vm")
    node.cascade.register("VmInstance", lambda uuid: [DestroyVmInstance(uuid=uuid), ExpungeVmInstance(uuid=uuid)])
    return (states,)


MANIFEST = Manifest(
    package="cairn.services.vm",
    doc="Virtual machines: creating, starting, stopping, removing, and seeing what they do by themselves.",
    build=build,
    requires=("host", "image", "l2", "l3", "offering", "primary_storage", "volume"),
)
