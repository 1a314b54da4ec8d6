"""Removing a stray: a VM of cairn that a host has and the database does not place there."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.store.store import Store, Tx
from cairn.services.vm.messages import TakeStray
from cairn.services.vm.model import StrayVm
from cairn.services.vm.upkeep.strays import Strays


class StrayInput(Struct, frozen=True, kw_only=True):
    """The stray that goes."""

    uuid: str


class DestroyStray(ActionStep[StrayInput, Nothing]):
    """Have the host destroy the stray's domain; its disks stay."""

    name = "stray-vm.destroy-on-host"
    title = "taking the stray off its host"
    nothing_to_undo: ClassVar[str | None] = "the domain is gone; its disks are where they were"

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def do(self, given: StrayInput) -> Nothing:
        """Destroy it in the turn of the VM whose uuid it has, so that none of that name is started there meanwhile.

        Raises:
            CairnError: ``stray-vm.at-home``: the database places the VM on that host by now.
        """
        row = await self._store.read(lambda tx: tx.get(StrayVm, given.uuid))
        if row is not None:
            await self._bus.call(TakeStray(vm=row.vm_uuid, stray=row.uuid))
        return NOTHING


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
