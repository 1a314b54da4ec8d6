"""The steps that the audit plugin adds to the workflows of VMs."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate
from cairn.services.ids import VmId
from cairn.services.vm.messages import CreateVmInstance
from cairn_audit.config import REQUIRE_TICKET
from cairn_audit.model import AuditNote
from cairn_audit.notes import Notes
from cairn_audit.tags import TICKET


class CheckTicketInput(Struct, frozen=True, kw_only=True):
    """The call that makes the VM."""

    asked: CreateVmInstance


class CheckTicket(TransactionStep[CheckTicketInput, Nothing]):
    """Refuse a VM without a ticket, where the setting asks for one."""

    name = "audit.check-ticket"
    title = "looking for the ticket's number"
    nothing_to_undo: ClassVar[str | None] = "it only reads"

    def __init__(self, settings: GlobalConfig) -> None:
        self._settings = settings

    def do(self, tx: Tx, given: CheckTicketInput) -> Nothing:
        """The setting is read each time, so a change of it counts from the next VM on."""
        has_ticket = any(TICKET.parse(tag) for tag in given.asked.system_tags)
        if self._settings.get(REQUIRE_TICKET) and not has_ticket:
            raise CairnError(
                "audit.no-ticket",
                f"The VM {given.asked.name} was refused: it names no ticket. Give the system tag {TICKET.pattern}, or ask an "
                f"administrator about the setting {REQUIRE_TICKET.key}.",
                kind=ErrorKind.INVALID,
                fields={"systemTags": f"found no ticket; {TICKET.pattern} would fit"},
            )
        return NOTHING


class NoteStartInput(Struct, frozen=True, kw_only=True):
    """The VM that started, and its host."""

    uuid: str
    place: Candidate


class NoteStartOutput(Struct, frozen=True, kw_only=True):
    """The note that an undo erases."""

    audit_note_uuid: str


class NoteStart(TransactionStep[NoteStartInput, NoteStartOutput]):
    """Note that a VM started."""

    name = "audit.note-start"
    title = "noting that the VM started"

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def do(self, tx: Tx, given: NoteStartInput) -> NoteStartOutput:
        """Write it down, with the ticket if the VM has one."""
        note = self._notes.write(tx, VmId(given.uuid), f"started on host {given.place.host_uuid}")
        assert note is not None, "the VM is there: this step stands behind the one that makes it Running"
        return NoteStartOutput(audit_note_uuid=note)

    def undo(self, tx: Tx, given: NoteStartInput, made: NoteStartOutput | None) -> None:
        """Erase the note, since the VM did not start after all."""
        if made is not None:
            erase(tx, AuditNote, made.audit_note_uuid)
