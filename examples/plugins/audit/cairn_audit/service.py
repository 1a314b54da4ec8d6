"""Answers the messages of the audit plugin."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import not_found
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.vm.model import VmInstance
from cairn_audit.messages import AddAuditNote
from cairn_audit.model import AuditNote


class AuditService:
    """Notes by hand."""

    def __init__(self, bus: Bus, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags
        bus.register(AddAuditNote, self.add)

    async def add(self, message: AddAuditNote) -> Reference:
        """Write a note. All of it is one transaction, which also ends the job: it happens once."""
        self._tags.check("AuditNote", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new note's uuid"

        def fn(tx: Tx) -> Reference:
            vm = tx.get(VmInstance, message.vm_instance_uuid)  # it may have gone since the gateway looked
            if vm is None:
                raise not_found("vm-instance", "vmInstanceUuid", message.vm_instance_uuid)
            tx.insert(
                AuditNote(
                    uuid=uuid,
                    vm_instance_uuid=vm.uuid,
                    vm_name=vm.name,
                    account_uuid=vm.account_uuid,
                    text=message.text,
                    create_date=tx.now,
                )
            )
            self._tags.add(tx, "AuditNote", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)
