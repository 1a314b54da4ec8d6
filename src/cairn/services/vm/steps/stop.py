"""Stopping and rebooting a VM."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.host.provided import HostAgents
from cairn.services.vm import config
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.machine import Operation, check
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.spec import nic_specs
from cairn.services.vm.states import VmStates, existing


class StopParameters(Struct, frozen=True, kw_only=True):
    """Which VM, and how."""

    vm_uuid: str
    stop_mode: str


class OnHostOutput(Struct, frozen=True, kw_only=True):
    """Where the VM is, and how it was."""

    former_state: VmState
    placed_host_uuid: str
    hostname: str
    user_data: str | None
    ssh_keys: list[str]
    nics: list[NicSpec]
    l3_network_uuids: list[str]


def on_host(tx: Tx, vm: VmInstance) -> OnHostOutput:
    """What leaving a host needs to know."""
    host = vm.host_uuid or vm.last_host_uuid
    if host is None:
        raise CairnError(
            "vm.no-host", f"The VM {vm.name} is on no host, so there is nothing to stop.", kind=ErrorKind.CONFLICT
        )
    nics = nic_specs(tx, vm)
    return OnHostOutput(
        former_state=vm.state,
        placed_host_uuid=host,
        hostname=vm.hostname,
        user_data=vm.user_data,
        ssh_keys=vm.ssh_keys,
        nics=nics,
        l3_network_uuids=[nic.l3_network_uuid for nic in nics],
    )


class BeginStop(TransactionStep[StopParameters, OnHostOutput]):
    """Refuse a VM that cannot be stopped now, else mark it as Stopping."""

    name = "vm.begin-stop"
    title = "looking whether the VM can stop"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: StopParameters) -> OnHostOutput:
        """Mark."""
        vm = existing(tx, given.vm_uuid)
        check(Operation.STOP, vm.state, vm.name)
        found = on_host(tx, vm)
        self._states.change(tx, vm, VmState.STOPPING)
        return found

    def undo(self, tx: Tx, given: StopParameters, made: OnHostOutput | None) -> None:
        """It stays as it was; when the hypervisor knows better, the next look at it tells."""
        vm = tx.get(VmInstance, given.vm_uuid)
        if vm is not None and made is not None and vm.state is VmState.STOPPING:
            self._states.change(tx, vm, made.former_state)


class StopOnHostInput(Struct, frozen=True, kw_only=True):
    """Which VM, where, how."""

    vm_uuid: str
    placed_host_uuid: str
    stop_mode: str


class StopOnHost(ActionStep[StopOnHostInput, Nothing]):
    """Have the host stop it."""

    name = "vm.stop-on-host"
    title = "stopping the VM on its host"
    nothing_to_undo: ClassVar[str | None] = "a VM that was stopped is not started again behind its owner's back"

    def __init__(self, extensions: Extensions, settings: GlobalConfig) -> None:
        self._extensions = extensions
        self._settings = settings

    async def do(self, given: StopOnHostInput) -> Nothing:
        """Stop; one that does not run is as good."""
        grace = float(self._settings.get(config.STOP_GRACE))
        command = agent.StopVm(vm=given.vm_uuid, mode=given.stop_mode, grace_seconds=grace)
        agents = self._extensions.named(HostAgents, "host")
        await agents.call(given.placed_host_uuid, command, timeout_seconds=grace + 60.0)
        return NOTHING


class FinishStopInput(Struct, frozen=True, kw_only=True):
    """Which VM."""

    vm_uuid: str


class FinishStop(TransactionStep[FinishStopInput, Nothing]):
    """The VM is Stopped."""

    name = "vm.finish-stop"
    title = "noting that the VM is stopped"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishStopInput) -> Nothing:
        """Note."""
        vm = existing(tx, given.vm_uuid)
        self._states.change(tx, vm, VmState.STOPPED, host_uuid=None)
        return NOTHING


class RebootParameters(Struct, frozen=True, kw_only=True):
    """Which VM."""

    vm_uuid: str


class BeginReboot(TransactionStep[RebootParameters, OnHostOutput]):
    """Refuse a VM that cannot be rebooted now, else mark it as Rebooting."""

    name = "vm.begin-reboot"
    title = "looking whether the VM can reboot"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: RebootParameters) -> OnHostOutput:
        """Mark."""
        vm = existing(tx, given.vm_uuid)
        check(Operation.REBOOT, vm.state, vm.name)
        found = on_host(tx, vm)
        self._states.change(tx, vm, VmState.REBOOTING)
        return found

    def undo(self, tx: Tx, given: RebootParameters, made: OnHostOutput | None) -> None:
        """It stays as it was; when the hypervisor knows better, the next look at it tells."""
        vm = tx.get(VmInstance, given.vm_uuid)
        if vm is not None and made is not None and vm.state is VmState.REBOOTING:
            self._states.change(tx, vm, made.former_state)


class RebootOnHostInput(Struct, frozen=True, kw_only=True):
    """Which VM, where."""

    vm_uuid: str
    placed_host_uuid: str


class RebootOnHost(ActionStep[RebootOnHostInput, Nothing]):
    """Have the host reboot it."""

    name = "vm.reboot-on-host"
    title = "rebooting the VM on its host"
    nothing_to_undo: ClassVar[str | None] = "a reboot cannot be taken back; the next look at the VM tells how it stands"

    def __init__(self, extensions: Extensions, settings: GlobalConfig) -> None:
        self._extensions = extensions
        self._settings = settings

    async def do(self, given: RebootOnHostInput) -> Nothing:
        """Reboot; after a crash of this node possibly twice."""
        grace = float(self._settings.get(config.STOP_GRACE))
        agents = self._extensions.named(HostAgents, "host")
        command = agent.RebootVm(vm=given.vm_uuid, grace_seconds=grace)
        await agents.call(given.placed_host_uuid, command, timeout_seconds=grace + 120.0)
        return NOTHING


class FinishReboot(TransactionStep[FinishStopInput, Nothing]):
    """The VM is Running again."""

    name = "vm.finish-reboot"
    title = "noting that the VM runs again"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishStopInput) -> Nothing:
        """Note."""
        self._states.change(tx, existing(tx, given.vm_uuid), VmState.RUNNING)
        return NOTHING
