"""Destroying a VM (it leaves its host), and expunging it (it is gone)."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.host.provided import HostAgents
from cairn.services.vm.machine import Operation, check
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.vm.states import VmStates, existing
from cairn.services.vm.steps.stop import FinishStopInput, OnHostOutput, on_host


class DestroyParameters(Struct, frozen=True, kw_only=True):
    """Which VM."""

    vm_uuid: str


class BeginDestroy(TransactionStep[DestroyParameters, OnHostOutput]):
    """Refuse a VM that cannot be destroyed now, else mark it as Destroying."""

    name = "vm.begin-destroy"
    title = "looking whether the VM can be destroyed"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: DestroyParameters) -> OnHostOutput:
        """Mark."""
        vm = existing(tx, given.vm_uuid)
        check(Operation.DESTROY, vm.state, vm.name)
        found = on_host(tx, vm)
        self._states.change(tx, vm, VmState.DESTROYING)
        return found

    def undo(self, tx: Tx, given: DestroyParameters, made: OnHostOutput | None) -> None:
        """It stays as it was; when the hypervisor knows better, the next look at it tells."""
        vm = tx.get(VmInstance, given.vm_uuid)
        if vm is not None and made is not None and vm.state is VmState.DESTROYING:
            self._states.change(tx, vm, made.former_state)


class DestroyOnHostInput(Struct, frozen=True, kw_only=True):
    """Which VM, where."""

    vm_uuid: str
    placed_host_uuid: str


class DestroyOnHost(ActionStep[DestroyOnHostInput, Nothing]):
    """Nothing of the VM but its disk stays on the host."""

    name = "vm.destroy-on-host"
    title = "taking the VM off its host"
    nothing_to_undo: ClassVar[str | None] = "a VM that was taken off is not started again behind its owner's back"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: DestroyOnHostInput) -> Nothing:
        """Destroy; one that is not there is as good."""
        agents = self._extensions.named(HostAgents, "host")
        await agents.call(given.placed_host_uuid, agent.DestroyVm(vm=given.vm_uuid))
        return NOTHING


class FinishDestroy(TransactionStep[FinishStopInput, Nothing]):
    """The VM is Destroyed: it has neither host nor addresses."""

    name = "vm.finish-destroy"
    title = "noting that the VM is destroyed"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: FinishStopInput) -> Nothing:
        """Note, and forget the network cards: their addresses are others' from now on."""
        vm = existing(tx, given.vm_uuid)
        tx.delete_where(VmNic, vm_instance_uuid=vm.uuid)
        self._states.change(tx, vm, VmState.DESTROYED, host_uuid=None)
        return NOTHING


class BeginExpungeOutput(Struct, frozen=True, kw_only=True):
    """What is to go."""

    root_volume_uuid: str


class BeginExpunge(TransactionStep[DestroyParameters, BeginExpungeOutput]):
    """Refuse a VM that is not destroyed, else mark it as Expunging."""

    name = "vm.begin-expunge"
    title = "looking whether the VM can be expunged"

    def __init__(self, states: VmStates) -> None:
        self._states = states

    def do(self, tx: Tx, given: DestroyParameters) -> BeginExpungeOutput:
        """Mark."""
        vm = existing(tx, given.vm_uuid)
        check(Operation.EXPUNGE, vm.state, vm.name)
        self._states.change(tx, vm, VmState.EXPUNGING)
        return BeginExpungeOutput(root_volume_uuid=vm.root_volume_uuid or "")

    def undo(self, tx: Tx, given: DestroyParameters, made: BeginExpungeOutput | None) -> None:
        """It stays destroyed."""
        vm = tx.get(VmInstance, given.vm_uuid)
        if vm is not None and vm.state is VmState.EXPUNGING:
            self._states.change(tx, vm, VmState.DESTROYED)


class EraseVm(TransactionStep[DestroyParameters, Nothing]):
    """Forget the VM."""

    name = "vm.erase"
    title = "forgetting the VM"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def do(self, tx: Tx, given: DestroyParameters) -> Nothing:
        """Erase."""
        self._tags.forget(tx, given.vm_uuid)
        erase(tx, VmInstance, given.vm_uuid)
        return NOTHING
