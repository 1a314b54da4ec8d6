"""The parts of the audit plugin that others ask: a veto, a hook on tags, a rule on hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cairn.kernel.api import ApiCommand
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.extensions import CallGuard, TagHook
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.host.extensions import Candidate, HostFilter, HostNeed
from cairn.services.ids import HostId, VmId
from cairn.services.vm.messages import DestroyVmInstance, ExpungeVmInstance
from cairn_audit.config import HOSTS_FOR_TICKETS
from cairn_audit.model import AuditSeal
from cairn_audit.notes import Notes
from cairn_audit.tags import HOLD, TICKET


class KeepHeld(CallGuard):
    """A VM that is held or sealed is not removed, by whatever call."""

    calls = (DestroyVmInstance, ExpungeVmInstance)

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def veto(self, tx: Tx, call: ApiCommand[object], account: str | None) -> None:
        """Refuse while there is a hold, or a seal."""
        assert isinstance(call, (DestroyVmInstance, ExpungeVmInstance))
        holds = self._tags.values(tx, call.uuid, HOLD)
        if holds:
            raise CairnError(
                "audit.vm-held",
                f"The VM {call.uuid} is held: {holds[0]['reason']}. Release it first.",
                kind=ErrorKind.CONFLICT,
            )
        if tx.count(AuditSeal, vm_instance_uuid=call.uuid):
            raise CairnError(
                "audit.vm-sealed",
                f"The VM {call.uuid} is sealed. Break its seal first.",
                kind=ErrorKind.CONFLICT,
            )


class NoteTickets(TagHook):
    """A ticket that changes leaves a note."""

    tag = TICKET

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def tag_set(self, tx: Tx, resource: str, values: Mapping[str, str], before: Mapping[str, str] | None) -> None:
        """A new ticket needs no note: those of the VM's starts name it."""
        if before is not None:
            self._notes.write(tx, VmId(resource), f"ticket {before['number']} became {values['number']}")

    def tag_removed(self, tx: Tx, resource: str, values: Mapping[str, str]) -> None:
        """Note that it is gone."""
        self._notes.write(tx, VmId(resource), f"ticket {values['number']} was taken away")


class TicketsFirst(HostFilter):
    """Hosts of a certain name are kept for VMs that were made for a ticket."""

    def __init__(self, settings: GlobalConfig, tags: Tags) -> None:
        self._settings = settings
        self._tags = tags

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """The tags of the VM come with its need, even while it is being made."""
        prefix = self._settings.get(HOSTS_FOR_TICKETS)
        if not prefix or self._tags.values_in(need.tags, TICKET):
            return {}
        return {one.host_uuid: "is kept for VMs with a ticket" for one in candidates if one.name.startswith(prefix)}
