"""The audit service: it answers the messages of the audit plugin, but for those that are workflows."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import create, existing
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId
from cairn.services.vm.model import VmInstance
from cairn_audit.messages import (
    AddAuditNote,
    BreakSealOfVmInstance,
    GetHostUptime,
    HoldVmInstance,
    HostUptime,
    ReleaseVmInstance,
    SealVmInstance,
)
from cairn_audit.model import AuditNote, AuditSeal
from cairn_audit.protocol import GetUptime
from cairn_audit.tags import HOLD

SEAL = workflow(SealVmInstance, unless=lambda tx, asked: tx.count(AuditSeal, vm_instance_uuid=asked.uuid) > 0)
BREAK_SEAL = workflow(
    BreakSealOfVmInstance, unless=lambda tx, asked: tx.count(AuditSeal, vm_instance_uuid=asked.uuid) == 0
)


class AuditService:
    """Writes the notes that people make by hand, and holds VMs."""

    def __init__(self, jobs: Jobs, tags: Tags, agents: HostAgents) -> None:
        self._jobs = jobs
        self._tags = tags
        self._agents = agents

    @handles(AddAuditNote)
    async def add(self, message: AddAuditNote) -> Reference:
        """Write a note. All of it is one transaction, which also ends the job: it happens once."""

        def fn(tx: Tx) -> Reference:
            # it may have gone since the gateway looked
            vm = existing(tx, VmInstance, message.vm_instance_uuid, "vmInstanceUuid")
            return create(tx, self._tags, AuditNote, message, name=vm.name, account_uuid=vm.account_uuid)

        return await self._jobs.commit(fn)

    @handles(HoldVmInstance)
    async def hold(self, message: HoldVmInstance) -> Reference:
        """Set the protected tag."""

        def fn(tx: Tx) -> Reference:
            vm = existing(tx, VmInstance, message.uuid)
            self._tags.put(tx, vm.uuid, HOLD, reason=message.reason)
            return Reference(uuid=vm.uuid)

        return await self._jobs.commit(fn)

    @handles(ReleaseVmInstance)
    async def release(self, message: ReleaseVmInstance) -> Reference:
        """Take the protected tag off."""

        def fn(tx: Tx) -> Reference:
            vm = existing(tx, VmInstance, message.uuid)
            self._tags.remove(tx, vm.uuid, HOLD)
            return Reference(uuid=vm.uuid)

        return await self._jobs.commit(fn)

    @handles(GetHostUptime)
    async def uptime(self, message: GetHostUptime) -> HostUptime:
        """Ask the host's agent."""
        answer = await self._agents.call(HostId(message.uuid), GetUptime())
        return HostUptime(seconds=answer.seconds)
