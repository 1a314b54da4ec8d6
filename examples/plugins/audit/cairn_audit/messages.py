"""Messages of the audit plugin."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import Access, ApiCreate, Http, Refers, Uuid, post


class AddAuditNote(ApiCreate, frozen=True, kw_only=True, tag="audit-note.add"):
    """Note something about a VM, by hand.

    Errors: ``vm.not-found``.
    """

    http: ClassVar[Http] = post("/audit-notes")
    entity: ClassVar[str | None] = "AuditNote"
    access: ClassVar[Access] = Access.ACCOUNT

    vm_instance_uuid: Annotated[Uuid, Refers("VmInstance")]
    text: Annotated[str, Meta(min_length=1, max_length=2048)]  #: what happened
