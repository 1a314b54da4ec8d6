"""Removing a stray: a VM of cairn that a host has and the database does not place there."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol.vm import DestroyVm
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.model import HostClaim
from cairn.services.host.provided import HostAgents
from cairn.services.ids import VmId
from cairn.services.vm.model import StrayVm, VmInstance
from cairn.services.vm.states import queue_of
from cairn.services.vm.upkeep.strays import Strays


class StrayInput(Struct, frozen=True, kw_only=True):
    """The stray that goes."""

    uuid: str


class DestroyStray(ActionStep[StrayInput, Nothing]):
    """Have the host destroy the stray's domain; its disks stay."""

    name = "stray-vm.destroy-on-host"
    title = "taking the stray off its host"
    nothing_to_undo: ClassVar[str | None] = "the domain is gone; its disks are where they were"

    def __init__(self, store: Store, queues: ResourceQueues, agents: HostAgents) -> None:
        self._store = store
        self._queues = queues
        self._agents = agents

    async def do(self, given: StrayInput) -> Nothing:
        """Destroy it in the turn of the VM whose uuid it has, so that none of that name is started there meanwhile.

        Raises:
            CairnError: ``stray-vm.at-home``: the database places the VM on that host by now.
        """
        row = await self._store.read(lambda tx: tx.get(StrayVm, given.uuid))
        if row is not None:
            vm = VmId(row.vm_uuid)
            await self._queues.run(queue_of(vm), lambda: self._destroy(row), name="remove a stray")
        return NOTHING

    async def _destroy(self, row: StrayVm) -> None:
        if await self._store.read(lambda tx: _at_home(tx, row)):
            raise CairnError(
                "stray-vm.at-home",
                f"The VM {row.vm_uuid} is where it belongs by now, so it is no stray. Stop or destroy the VM itself.",
                kind=ErrorKind.CONFLICT,
            )
        await self._agents.call(row.host_uuid, DestroyVm(vm=row.vm_uuid))


def _at_home(tx: Tx, row: StrayVm) -> bool:
    vm, claim = tx.get(VmInstance, row.vm_uuid), tx.get(HostClaim, row.vm_uuid)
    return row.host_uuid in (None if vm is None else vm.host_uuid, None if claim is None else claim.host_uuid)


class ForgetStray(TransactionStep[StrayInput, Nothing]):
    """Forget the stray, and give back what it held of its host."""

    name = "stray-vm.forget"
    title = "forgetting the stray"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, strays: Strays) -> None:
        self._strays = strays

    def do(self, tx: Tx, given: StrayInput) -> Nothing:
        """One that is forgotten already is success."""
        row = tx.get(StrayVm, given.uuid)
        if row is not None:
            self._strays.forget(tx, row)
        return NOTHING
