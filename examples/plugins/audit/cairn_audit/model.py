"""The notes that the audit plugin keeps."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Index, Named, Owner, References, TableMeta, Text
from cairn.services.ids import AccountId, VmId


class AuditNote(Named, frozen=True, kw_only=True):
    """A note about a VM. It outlives the VM, and has the name that the VM had then."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="audit_note", entity="AuditNote", columns=("name", "ticket", "text", "createDate")
    )

    vm_instance_uuid: Annotated[
        VmId | None, References("vm_instance", join="vmInstance", back="auditNotes", on_delete="set-null")
    ] = None
    account_uuid: Annotated[AccountId | None, Owner(), Index()] = None
    ticket: Annotated[str | None, Doc("the ticket that the VM was made for")] = None
    text: Annotated[str, Text(2048)]
