"""The notes and seals that the audit plugin keeps."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Index, Key, Named, Owner, Record, References, TableMeta, Text, Unique
from cairn.services.ids import AccountId, HostId, VmId


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


class AuditSeal(Record, frozen=True, kw_only=True):
    """A number that a host keeps for a VM, to be compared with this one. A VM's inventory shows it as ``auditSeal``."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="audit_seal",
        entity="AuditSeal",
        owned_by="vm_instance_uuid",
        columns=("vmInstance.name", "number", "createDate"),
    )

    uuid: Annotated[str, Key()]
    vm_instance_uuid: Annotated[
        VmId,
        References("vm_instance", join="vmInstance", back="auditSeal", on_delete="cascade", shown=True),
        Unique(),
    ]
    host_uuid: Annotated[HostId, Doc("which keeps the number")]
    number: str
    create_date: datetime
