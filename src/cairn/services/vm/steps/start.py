"""Starting a VM on a host."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import asdict

from cairn.agents.protocol import vm as agent
from cairn.kernel.config import GlobalConfig
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.resource import existing, taken
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.host.provided import HostAgents
from cairn.services.ids import L3NetworkId
from cairn.services.primary_storage.extensions import VolumeSpec
from cairn.services.vm import config
from cairn.services.vm.definition import VmDefinition, disk_bus, nic_model, nic_specs
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.messages import StartVmInstance
from cairn.services.vm.model import VmInstance
from cairn.services.vm.tags import ToldToGuest, told_to_guest


class LoadInput(Struct, frozen=True, kw_only=True):
    """The VM, its root volume, and the call, which may name a host or cluster."""

    uuid: str
    asked: StartVmInstance
    root_volume: VolumeSpec


class LoadOutput(Struct, frozen=True, kw_only=True):
    """The VM's definition and network cards, and what it needs of a host."""

    vm: VmDefinition
    nics: list[NicSpec]
    l3_network_uuids: list[L3NetworkId]
    host_need: HostNeed


class LoadVm(TransactionStep[LoadInput, LoadOutput]):
    """Read the definition of a VM that was stopped; what its guest is told comes from its tags as they are now."""

    name = "vm.load"
    title = "looking up the VM"
    nothing_to_undo: ClassVar[str | None] = (
        "it only copies the VM's tags to its row, which is right whether it starts or not"
    )

    def do(self, tx: Tx, given: LoadInput) -> LoadOutput:
        """The VM has its disk already, so its host must reach that disk, and needs no space."""
        row = existing(tx, VmInstance, given.uuid)
        told = told_to_guest(tx, row)
        if told != taken(ToldToGuest, row):
            tx.update(VmInstance, row.uuid, **asdict(told))
        vm = taken(VmDefinition, told, row)
        nics = nic_specs(tx, row)
        networks = [nic.l3_network_uuid for nic in nics]
        need = taken(
            HostNeed,
            vm,
            given.asked,
            vm_uuid=vm.uuid,
            image_uuid=row.image_uuid or "",
            disk_bytes=0,
            l3_network_uuids=networks,
            root_volume_uuid=given.root_volume.uuid,
            primary_storage_uuid=given.root_volume.primary_storage_uuid,
        )
        return LoadOutput(vm=vm, nics=nics, l3_network_uuids=networks, host_need=need)


class StartOnHostInput(Struct, frozen=True, kw_only=True):
    """The VM's definition, its place, and all that it is connected to there."""

    vm: VmDefinition
    place: Candidate
    nics: list[NicSpec]
    bridges: dict[str, str]
    mtus: dict[str, int]
    root_volume: VolumeSpec

    def command(self) -> agent.StartVm:
        """Make the agent's command. Of the definition only `Hardware` goes along: the rest has secrets."""
        disk = self.root_volume
        return agent.StartVm(
            hardware=taken(agent.Hardware, self.vm),
            disks=[taken(agent.Disk, disk, path=disk.install_path, volume=disk.uuid, bus=disk_bus(self.vm))],
            nics=[
                taken(
                    agent.Nic,
                    nic,
                    bridge=self.bridges[nic.l3_network_uuid],
                    mtu=self.mtus[nic.l3_network_uuid],
                    device=nic.internal_name,
                    model=nic_model(self.vm),
                    addresses=[nic.ip] if nic.ip else [],
                )
                for nic in self.nics
            ],
        )


class StartOnHost(ActionStep[StartOnHostInput, Nothing]):
    """Have the host start the VM."""

    name = "vm.start-on-host"
    title = "starting the VM on its host"

    def __init__(self, agents: HostAgents, settings: GlobalConfig) -> None:
        self._agents = agents
        self._settings = settings

    async def do(self, given: StartOnHostInput) -> Nothing:
        """Start it; one that runs there already is success."""
        seconds = float(self._settings.get(config.START_TIMEOUT))
        await self._agents.call(given.place.host_uuid, given.command(), timeout_seconds=seconds)
        return NOTHING

    async def undo(self, given: StartOnHostInput, made: Nothing | None) -> None:
        """Destroy it on the host; nothing there is success."""
        await self._agents.call(given.place.host_uuid, agent.DestroyVm(vm=given.vm.uuid))
