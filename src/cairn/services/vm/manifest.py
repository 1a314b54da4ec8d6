"""The VM service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostPinged, HostRemoval
from cairn.services.vm import config, tags
from cairn.services.vm.messages import (
    CreateVmInstance,
    DestroyVmInstance,
    ExpungeVmInstance,
    GetVmConsoleAddress,
    RebootVmInstance,
    StartVmInstance,
    StopVmInstance,
    UpdateVmInstance,
)
from cairn.services.vm.model import VmInstance, VmNic
from cairn.services.vm.service import ALL, VmService
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


def build(parts: Parts) -> None:
    """Make the service's objects."""
    states = VmStates(parts.events)
    VmService(parts.bus, parts.store, parts.jobs, parts.lazy_flows(), parts.tags, parts.extensions)
    watch = VmWatch(parts.bus, parts.store, parts.clock, parts.events, states, parts.extensions)
    parts.extensions.provide(HostPinged, watch, name="vm")
    parts.extensions.provide(HostRemoval, VmsOnHost(), name="vm")
    parts.cascade.register("VmInstance", lambda uuid: [DestroyVmInstance(uuid=uuid), ExpungeVmInstance(uuid=uuid)])
    parts.steps += [
        PrepareVm(parts.ids),
        RecordVm(parts.tags, states),
        RecordNics(parts.ids),
        BeginStart(states),
        StartOnHost(parts.extensions, parts.config),
        FinishStart(states),
        FinishStopped(states),
        BeginStop(states),
        StopOnHost(parts.extensions, parts.config),
        FinishStop(states),
        BeginReboot(states),
        RebootOnHost(parts.extensions, parts.config),
        FinishReboot(states),
        BeginDestroy(states),
        DestroyOnHost(parts.extensions),
        FinishDestroy(states),
        BeginExpunge(states),
        EraseVm(parts.tags),
    ]


MANIFEST = Manifest(
    name="vm",
    doc="Virtual machines: creating, starting, stopping, removing, and seeing what they do by themselves.",
    build=build,
    requires=("zone", "cluster", "host", "image", "offering", "volume", "l3"),
    records=(VmInstance, VmNic),
    api=(
        CreateVmInstance,
        StartVmInstance,
        StopVmInstance,
        RebootVmInstance,
        DestroyVmInstance,
        ExpungeVmInstance,
        UpdateVmInstance,
        GetVmConsoleAddress,
    ),
    settings=config.ALL,
    tags=tags.ALL,
    workflows=ALL,
    workflow_file=Path(__file__).parent / "workflows.toml",
)
