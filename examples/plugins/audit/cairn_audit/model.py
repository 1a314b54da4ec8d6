"""What the audit plugin keeps."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Index, Key, Owner, Record, References, TableMeta, Text


class AuditNote(Record, frozen=True, kw_only=True):
    """What happened to a VM. It outlives the VM."""

    meta: ClassVar[TableMeta] = TableMeta(table="audit_note", entity="AuditNote")

    uuid: Annotated[str, Key()]
    vm_instance_uuid: Annotated[
        str | None, References("vm_instance", join="vmInstance", back="auditNotes", on_delete="set-null")
    ]
    vm_name: Annotated[str, Doc("what the VM was called then")]
    account_uuid: Annotated[str | None, Owner(), Index()]
    ticket: Annotated[str | None, Doc("the ticket that the VM was made for")] = None
    text: Annotated[str, Text(2048)]
    create_date: Annotated[datetime, Index()]
