"""The audit service: it answers the messages of the audit plugin."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import create, existing
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.vm.model import VmInstance
from cairn_audit.messages import AddAuditNote
from cairn_audit.model import AuditNote


class AuditService:
    """Writes the notes that people make by hand."""

    def __init__(self, jobs: Jobs, tags: Tags) -> None:
        self._jobs = jobs
        self._tags = tags

    @handles(AddAuditNote)
    async def add(self, message: AddAuditNote) -> Reference:
        """Write a note. All of it is one transaction, which also ends the job: it happens once."""

        def fn(tx: Tx) -> Reference:
            # it may have gone since the gateway looked
            vm = existing(tx, VmInstance, message.vm_instance_uuid, "vmInstanceUuid")
            return create(tx, self._tags, AuditNote, message, name=vm.name, account_uuid=vm.account_uuid)

        return await self._jobs.commit(fn)
