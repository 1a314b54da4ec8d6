"""The steps of the audit plugin's own workflows: sealing a VM, and breaking its seal."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import existing
from cairn.kernel.store.store import Tx
from cairn.services.host.provided import HostAgents
from cairn.services.vm.model import VmInstance
from cairn_audit.model import AuditSeal
from cairn_audit.protocol import PutSeal, TakeSeal


class OfVm(Struct, frozen=True, kw_only=True):
    """Which VM."""

    uuid: str


class Sealing(Struct, frozen=True, kw_only=True):
    """The seal. An undo finds all that it needs here, though the row may be gone by then."""

    seal: AuditSeal


class RecordSeal(TransactionStep[OfVm, Sealing]):
    """Choose the number, and write it down."""

    name = "audit.record-seal"
    title = "writing the seal down"

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def do(self, tx: Tx, given: OfVm) -> Sealing:
        """The number is made here, once: the host may be told it twice, and it is the same."""
        vm = existing(tx, VmInstance, given.uuid)
        if vm.host_uuid is None:
            raise CairnError(
                "audit.not-running",
                f"The VM {vm.name} is on no host that could keep a seal. Start it first.",
                kind=ErrorKind.CONFLICT,
            )
        seal = AuditSeal(
            uuid=self._ids.new(),
            vm_instance_uuid=vm.uuid,
            host_uuid=vm.host_uuid,
            number=self._ids.new(),
            create_date=tx.now,
        )
        tx.insert(seal)
        return Sealing(seal=seal)

    def undo(self, tx: Tx, given: OfVm, made: Sealing | None) -> None:
        """Take the row out."""
        if made is not None:
            tx.delete(AuditSeal, made.seal.uuid)


class PutOnHost(ActionStep[Sealing, Nothing]):
    """Have the host keep the number."""

    name = "audit.put-seal"
    title = "sealing the VM on its host"

    def __init__(self, agents: HostAgents) -> None:
        self._agents = agents

    async def do(self, given: Sealing) -> Nothing:
        """May be done twice: the number is the same."""
        seal = given.seal
        await self._agents.call(seal.host_uuid, PutSeal(vm=seal.vm_instance_uuid, number=seal.number))
        return NOTHING

    async def undo(self, given: Sealing, made: Nothing | None) -> None:
        """Whether the host has it is not known (`made` is None if the answer got lost): none there is success."""
        await self._agents.call(given.seal.host_uuid, TakeSeal(vm=given.seal.vm_instance_uuid))


class LoadSeal(TransactionStep[OfVm, Sealing]):
    """Read the seal."""

    name = "audit.load-seal"
    title = "looking the seal up"
    nothing_to_undo: ClassVar[str | None] = "it only reads"

    def do(self, tx: Tx, given: OfVm) -> Sealing:
        """There is one, or the workflow's `unless` had ended it."""
        (seal,) = tx.find(AuditSeal, vm_instance_uuid=given.uuid)
        return Sealing(seal=seal)


class TakeFromHost(ActionStep[Sealing, Nothing]):
    """Have the host forget the number."""

    name = "audit.take-seal"
    title = "taking the seal off the host"

    def __init__(self, agents: HostAgents) -> None:
        self._agents = agents

    async def do(self, given: Sealing) -> Nothing:
        """None there is success."""
        await self._agents.call(given.seal.host_uuid, TakeSeal(vm=given.seal.vm_instance_uuid))
        return NOTHING

    async def undo(self, given: Sealing, made: Nothing | None) -> None:
        """Put it there again."""
        seal = given.seal
        await self._agents.call(seal.host_uuid, PutSeal(vm=seal.vm_instance_uuid, number=seal.number))


class EraseSeal(TransactionStep[Sealing, Nothing]):
    """Forget the seal."""

    name = "audit.erase-seal"
    title = "forgetting the seal"

    def do(self, tx: Tx, given: Sealing) -> Nothing:
        """Take the row out."""
        tx.delete(AuditSeal, given.seal.uuid)
        return NOTHING

    def undo(self, tx: Tx, given: Sealing, made: Nothing | None) -> None:
        """Write the same row again."""
        if made is not None:
            tx.insert(given.seal)
