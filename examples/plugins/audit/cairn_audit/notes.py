"""Writes notes."""

from __future__ import annotations

from cairn.kernel.event.model import EventRow
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import write
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.ids import VmId
from cairn.services.vm.model import VmInstance
from cairn_audit.model import AuditNote
from cairn_audit.tags import TICKET


class Notes:
    """Writes the notes of what happens to VMs."""

    def __init__(self, store: Store, ids: IdSource, tags: Tags) -> None:
        self._store = store
        self._ids = ids
        self._tags = tags

    def write(self, tx: Tx, vm: VmId, text: str) -> str | None:
        """Note something about a VM, with its ticket. Returns the note's uuid; None: the VM is gone."""
        row = tx.get(VmInstance, vm)
        if row is None:
            return None
        tickets = self._tags.values(tx, vm, TICKET)
        note = AuditNote(
            uuid=self._ids.new(),
            name=row.name,
            vm_instance_uuid=vm,
            account_uuid=row.account_uuid,
            ticket=tickets[0]["number"] if tickets else None,
            text=text,
            create_date=tx.now,
            last_op_date=tx.now,
        )
        write(tx, note)
        return note.uuid

    async def crashed(self, event: EventRow) -> None:
        """Note that a VM crashed. A durable subscriber may be told twice, so the note says of which event it is."""
        vm = VmId(event.resource_uuid or "")

        def fn(tx: Tx) -> None:
            text = f"crashed (event {event.sequence})"
            if not tx.count(AuditNote, vm_instance_uuid=vm, text=text):
                self.write(tx, vm, text)

        await self._store.write(fn)
