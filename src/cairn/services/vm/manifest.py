"""The VM service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostPinged, HostRemoval
from cairn.services.l2.extensions import L2NetworkUsers
from cairn.services.vm.l2_users import VmsOnL2Network
from cairn.services.vm.messages import (
    DestroyVmInstance,
    ExpungeVmInstance,
)
from cairn.services.vm.model import VmInstance
from cairn.services.vm.service import VmService
from cairn.services.vm.states import VmStates
from cairn.services.vm.steps.create import PrepareVm, RecordNics, RecordVm
from cairn.services.vm.steps.remove import BeginDestroy, BeginExpunge, DestroyOnHost, EraseVm, FinishDestroy
from cairn.services.vm.steps.start import BeginStart, FinishStart, FinishStopped, StartOnHost
from cairn.services.vm.steps.stop import BeginReboot, BeginStop, FinishReboot, FinishStop, RebootOnHost, StopOnHost
from cairn.services.vm.watch import VmWatch


class VmsOnHost:
    """Keeps a host from going while VMs are on it; implements `HostRemoval`."""

    def why_not_remove(self, tx: Tx, host: str) -> str | None:
        """VMs that are placed there."""
        count = tx.count(VmInstance, host_uuid=host)
        return f"{count} VMs are on it" if count else None

    def host_removed(self, tx: Tx, host: str) -> None:
        """Nothing: `last_host_uuid` is no reference."""


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    states = VmStates(node.events)
    VmService(node.bus, node.store, node.jobs, node.lazy_flows(), node.tags, node.extensions)
    watch = VmWatch(node.bus, node.store, node.clock, node.events, states, node.extensions)
    node.extensions.provide(HostPinged, watch, name="vm")
    node.reports.route("vm.state", watch.reported)
    node.extensions.provide(HostRemoval, VmsOnHost(), name="vm")
    node.extensions.provide(L2NetworkUsers, VmsOnL2Network(), name="vm")
    node.cascade.register("VmInstance", lambda uuid: [DestroyVmInstance(uuid=uuid), ExpungeVmInstance(uuid=uuid)])
    node.steps += [
        PrepareVm(node.ids),
        RecordVm(node.tags, states),
        RecordNics(node.ids),
        BeginStart(states),
        StartOnHost(node.extensions, node.config),
        FinishStart(states),
        FinishStopped(states),
        BeginStop(states),
        StopOnHost(node.extensions, node.config),
        FinishStop(states),
        BeginReboot(states),
        RebootOnHost(node.extensions, node.config),
        FinishReboot(states),
        BeginDestroy(states),
        DestroyOnHost(node.extensions),
        FinishDestroy(states),
        BeginExpunge(states),
        EraseVm(node.tags),
    ]


MANIFEST = Manifest(
    package="cairn.services.vm",
    doc="Virtual machines: creating, starting, stopping, removing, and seeing what they do by themselves.",
    build=build,
    requires=("zone", "cluster", "host", "image", "offering", "volume", "l2", "l3"),
)
