"""Destroying a VM (it leaves its host), and expunging it (it is gone)."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol import vm as agent
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Tx
from cairn.services.host.provided import HostAgents
from cairn.services.vm.model import VmInstance
from cairn.services.vm.steps.recover import remove_nics
from cairn.services.vm.steps.stop import OnHostInput


class DestroyOnHost(ActionStep[OnHostInput, Nothing]):
    """Have the host remove all of the VM but its disk."""

    name = "vm.destroy-on-host"
    title = "taking the VM off its host"
    nothing_to_undo: ClassVar[str | None] = "a VM that was taken off is not started again behind its owner's back"

    def __init__(self, agents: HostAgents) -> None:
        self._agents = agents

    async def do(self, given: OnHostInput) -> Nothing:
        """Destroy it; one that is not there is success."""
        await self._agents.call(given.former.host, agent.DestroyVm(vm=given.uuid))
        return NOTHING


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


class EraseVm(TransactionStep[RemoveInput, Nothing]):
    """Forget the VM, as the last step of an expunge."""

    name = "vm.erase"
    title = "forgetting the VM"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def do(self, tx: Tx, given: RemoveInput) -> Nothing:
        """Erase its row, and its tags with it."""
        erase(tx, VmInstance, given.uuid)
        return NOTHING
