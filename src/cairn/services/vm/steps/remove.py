"""Destroying a VM (it leaves its host), and expunging it (it is gone)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.cascade import Cascade, in_words
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.resource import erase
from cairn.kernel.store.record import info
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.provided import HostAgents, HostDebts, is_out_of_reach
from cairn.services.ids import HostId
from cairn.services.vm.machine import ON_NO_HOST
from cairn.services.vm.model import VmInstance
from cairn.services.vm.steps.recover import remove_nics
from cairn.services.vm.steps.stop import OnHostInput
from cairn.services.vm.upkeep.departures import DEBT
from cairn.services.volume.model import Volume


class DestroyOnHostInput(OnHostInput, frozen=True, kw_only=True):
    """The VM, its state and place when the operation began, and whether it is removed by force."""

    enforced: bool = False


class DestroyOnHost(ActionStep[DestroyOnHostInput, Nothing]):
    """Have the host remove all of the VM but its disk."""

    name = "vm.destroy-on-host"
    title = "taking the VM off its host"
    nothing_to_undo: ClassVar[str | None] = "a VM that was taken off is not started again behind its owner's back"

    def __init__(self, store: Store, agents: HostAgents, debts: HostDebts) -> None:
        self._store = store
        self._agents = agents
        self._debts = debts

    async def do(self, given: DestroyOnHostInput) -> Nothing:
        """Destroy it; one that is not there is success.

        A host that cannot be reached owes it, if the VM is removed by force, or is off and has little more than its console's
        text there.
        """
        host, off = given.former.host, given.former.state in ON_NO_HOST
        try:
            await self._agents.call(host, agent.DestroyVm(vm=given.uuid))
        except CairnError as error:
            if not is_out_of_reach(error) or not (given.enforced or off):
                raise
            await self._store.write(partial(self._owe, host, given.uuid, error))
        return NOTHING

    def _owe(self, host: HostId, vm: str, error: CairnError, tx: Tx) -> None:
        self._debts.owe(tx, host, DEBT, vm, error)


class RemoveInput(Struct, frozen=True, kw_only=True):
    """The VM that is to be forgotten."""

    uuid: str


class RemoveNics(TransactionStep[RemoveInput, Nothing]):
    """Take the VM's network cards away; its row remembers them until it is expunged."""

    name = "vm.remove-nics"
    title = "taking the VM's network cards away"
    nothing_to_undo: ClassVar[str | None] = "their addresses are given back by then, and may be others' already"

    def do(self, tx: Tx, given: RemoveInput) -> Nothing:
        """Delete their rows; none is success."""
        remove_nics(tx, given.uuid)
        return NOTHING


class CheckUnused(TransactionStep[RemoveInput, Nothing]):
    """See that nothing will keep the VM's row from going, while its disk is still there."""

    name = "vm.check-unused"
    title = "seeing that nothing needs the VM"
    nothing_to_undo: ClassVar[str | None] = "it only reads"

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    def do(self, tx: Tx, given: RemoveInput) -> Nothing:
        """Refuse a VM that a plugin's rows refer to (``vm.in-use``); its volumes go with it."""
        found = self._cascade.dependents(tx, VmInstance, given.uuid)
        found.pop(info(Volume).meta.entity or "", None)
        if found:
            raise CairnError(
                "vm.in-use",
                f"The VM cannot be expunged: {in_words(found)} refer to it. Delete that first.",
                kind=ErrorKind.CONFLICT,
                details={"dependents": {entity: str(count) for entity, count in found.items()}},
            )
        return NOTHING


class EraseVm(TransactionStep[RemoveInput, Nothing]):
    """Forget the VM, as the last step of an expunge."""

    name = "vm.erase"
    title = "forgetting the VM"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def do(self, tx: Tx, given: RemoveInput) -> Nothing:
        """Erase its row, and its tags with it."""
        erase(tx, VmInstance, given.uuid)
        return NOTHING
