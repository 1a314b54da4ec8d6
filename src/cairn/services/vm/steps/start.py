"""Starting a VM, new or stopped."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.config import GlobalConfig
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostNeed
from cairn.services.host.provided import HostAgents
from cairn.services.primary_storage.extensions import VolumeSpec
from cairn.services.vm import config
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.machine import Operation, check
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.spec import nic_specs, start_command
from cairn.services.vm.states import VmStates, existing
from cairn.services.vm.tags import told_to_guest
from cairn.services.volume.model import Volume


class StartParameters(Struct, frozen=True, kw_only=True):
    """What a start begins with."""

    vm_uuid: str
    required_cluster_uuid: str | None
    required_host_uuid: str | None


class BeginStartOutput(Struct, frozen=True, kw_only=True):
    """The VM as it is written down."""

    former_state: VmState
    name: str
    root_volume_uuid: str
    vm_cpu_num: int
    vm_memory_bytes: int
    hostname: str
    user_data: str | None
    ssh_keys: list[str]
    nics: list[NicSpec]
    l3_network_uuids: list[str]
    host_need: HostNeed


class BeginStart(TransactionStep[StartParameters, BeginStartOutput]):
    """Refuse a VM that cannot start now, else mark it as Starting."""

    name = "vm.begin-start"
    title = "looking whether the VM can start"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: StartParameters) -> BeginStartOutput:
        """Mark."""
        vm = existing(tx, given.vm_uuid)
        check(Operation.START, vm.state, vm.name)
        hostname, user_data, ssh_keys = told_to_guest(tx, vm)
        self._states.change(tx, vm, VmState.STARTING, hostname=hostname, user_data=user_data, ssh_keys=ssh_keys)
        nics = nic_specs(tx, vm)
        volume = tx.get(Volume, vm.root_volume_uuid or "")
        networks = [nic.l3_network_uuid for nic in nics]
        return BeginStartOutput(
            former_state=vm.state,
            name=vm.name,
            root_volume_uuid=vm.root_volume_uuid or "",
            vm_cpu_num=vm.cpu_num,
            vm_memory_bytes=vm.memory_size,
            hostname=hostname,
            user_data=user_data,
            ssh_keys=ssh_keys,
            nics=nics,
            l3_network_uuids=networks,
            host_need=HostNeed(
                vm_uuid=vm.uuid,
                cpu_num=vm.cpu_num,
                memory_bytes=vm.memory_size,
                disk_bytes=0,
                image_uuid=vm.image_uuid or "",
                l3_network_uuids=networks,
                cluster_uuid=given.required_cluster_uuid,
                host_uuid=given.required_host_uuid,
                root_volume_uuid=vm.root_volume_uuid,
                primary_storage_uuid=volume.primary_storage_uuid if volume else None,
            ),
        )

    def undo(self, tx: Tx, given: StartParameters, made: BeginStartOutput | None) -> None:
        """It stays as it was."""
        vm = tx.get(VmInstance, given.vm_uuid)
        if vm is not None and made is not None and vm.state is VmState.STARTING:
            self._states.change(tx, vm, made.former_state, host_uuid=None)


class StartOnHostInput(Struct, frozen=True, kw_only=True):
    """All that a hypervisor needs."""

    vm_uuid: str
    name: str
    vm_cpu_num: int
    vm_memory_bytes: int
    placed_host_uuid: str
    nics: list[NicSpec]
    bridges: dict[str, str]
    mtus: dict[str, int]
    root_volume: VolumeSpec


class StartOnHost(ActionStep[StartOnHostInput, Nothing]):
    """Have the host start it."""

    name = "vm.start-on-host"
    title = "starting the VM on its host"

    def __init__(self, extensions: Extensions, settings: GlobalConfig) -> None:
        self._extensions = extensions
        self._settings = settings

    async def do(self, given: StartOnHostInput) -> Nothing:
        """Start; one that runs already is as good."""
        command = start_command(
            vm=given.vm_uuid,
            title=given.name,
            cpu_num=given.vm_cpu_num,
            memory_bytes=given.vm_memory_bytes,
            nics=given.nics,
            bridges=given.bridges,
            mtus=given.mtus,
            disks=[given.root_volume],
        )
        seconds = float(self._settings.get(config.START_TIMEOUT))
        agents = self._extensions.named(HostAgents, "host")
        await agents.call(given.placed_host_uuid, command, timeout_seconds=seconds)
        return NOTHING

    async def undo(self, given: StartOnHostInput, made: Nothing | None) -> None:
        """Nothing of it stays on the host."""
        agents = self._extensions.named(HostAgents, "host")
        await agents.call(given.placed_host_uuid, agent.DestroyVm(vm=given.vm_uuid))


class FinishStartInput(Struct, frozen=True, kw_only=True):
    """Where it runs."""

    vm_uuid: str
    placed_host_uuid: str
    placed_cluster_uuid: str
    placed_zone_uuid: str


class FinishStart(TransactionStep[FinishStartInput, Nothing]):
    """The VM is Running."""

    name = "vm.finish-start"
    title = "noting that the VM runs"
    nothing_to_undo: ClassVar[str | None] = "the steps before it bring the VM's state back"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishStartInput) -> Nothing:
        """Note."""
        vm = existing(tx, given.vm_uuid)
        self._states.change(
            tx,
            vm,
            VmState.RUNNING,
            host_uuid=given.placed_host_uuid,
            last_host_uuid=given.placed_host_uuid,
            cluster_uuid=given.placed_cluster_uuid,
            zone_uuid=given.placed_zone_uuid,
        )
        return NOTHING


class FinishStopped(TransactionStep[FinishStartInput, Nothing]):
    """The VM was created and stays stopped."""

    name = "vm.finish-created-stopped"
    title = "noting that the VM is ready to start"
    nothing_to_undo: ClassVar[str | None] = "the steps before it bring the VM's state back"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishStartInput) -> Nothing:
        """Note."""
        vm = existing(tx, given.vm_uuid)
        self._states.change(tx, vm, VmState.STOPPED, host_uuid=None)
        return NOTHING
