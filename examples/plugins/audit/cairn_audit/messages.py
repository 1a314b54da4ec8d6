"""Messages of the audit plugin."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from cairn.kernel.api import Access, ApiChange, ApiCreate, ApiQuery, Http, Refers, Uuid, action, get, post


class AddAuditNote(ApiCreate, frozen=True, kw_only=True, tag="audit-note.add"):
    """Note something about a VM, by hand.

    Errors: ``vm.not-found``.
    """

    http: ClassVar[Http] = post("/audit-notes")
    entity: ClassVar[str | None] = "AuditNote"
    access: ClassVar[Access] = Access.ACCOUNT

    vm_instance_uuid: Annotated[Uuid, Refers("VmInstance")]
    text: Annotated[str, Meta(min_length=1, max_length=2048)]  #: what happened


class HoldVmInstance(ApiChange, frozen=True, kw_only=True, tag="audit.hold-vm"):
    """Keep a VM from being removed, until it is released. A VM that is held already is held for the new reason."""

    takes_turn: ClassVar[bool] = False  # it counts at once, for a removal that waits already as well
    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "holdVmInstance")
    entity: ClassVar[str | None] = "VmInstance"

    uuid: Annotated[Uuid, Refers("VmInstance")]
    reason: Annotated[str, Meta(min_length=1, max_length=255)]  #: shown to who wants to remove it


class ReleaseVmInstance(ApiChange, frozen=True, kw_only=True, tag="audit.release-vm"):
    """Let a VM be removed again. One that is not held is success."""

    takes_turn: ClassVar[bool] = False
    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "releaseVmInstance")
    entity: ClassVar[str | None] = "VmInstance"

    uuid: Annotated[Uuid, Refers("VmInstance")]


class SealVmInstance(ApiChange, frozen=True, kw_only=True, tag="vm.seal"):
    """Have the host of a VM keep a number for it. A VM that is sealed already keeps its seal, and is not destroyed before that
    is broken.

    Errors: ``audit.not-running``.
    """

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "sealVmInstance")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]


class BreakSealOfVmInstance(ApiChange, frozen=True, kw_only=True, tag="vm.break-seal"):
    """Take a VM's seal away. A VM without one is success."""

    http: ClassVar[Http] = action("/vm-instances/{uuid}/actions", "breakSealOfVmInstance")
    entity: ClassVar[str | None] = "VmInstance"
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Annotated[Uuid, Refers("VmInstance")]


class HostUptime(Struct, frozen=True, kw_only=True):
    """How long a host has been up."""

    seconds: int


class GetHostUptime(ApiQuery[HostUptime], frozen=True, kw_only=True, tag="audit.host-uptime"):
    """How long a host has been up, as its agent says."""

    http: ClassVar[Http] = get("/hosts/{uuid}/uptime")
    access: ClassVar[Access] = Access.ADMIN

    uuid: Annotated[Uuid, Refers("Host")]
