"""API messages about zones."""

from __future__ import annotations

from typing import ClassVar

from cairn.kernel.api import (
    ApiChangeState,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Uuid,
    action,
    delete,
    post,
)


class CreateZone(ApiCreate, frozen=True, kw_only=True, tag="zone.create"):
    """Create a zone: a data center, in which everything reaches everything. Nothing spans two zones."""

    http: ClassVar[Http] = post("/zones")
    entity: ClassVar[str | None] = "Zone"

    name: Name
    description: Description | None = None
    is_default: bool = False  #: takes this from the zone that was the default


class UpdateZone(ApiUpdate, frozen=True, kw_only=True, tag="zone.update"):
    """Change a zone's name or description, or make it the default."""

    http: ClassVar[Http] = action("/zones/{uuid}/actions", "updateZone")
    entity: ClassVar[str | None] = "Zone"

    is_default: bool | None = None


class ChangeZoneState(ApiChangeState, frozen=True, kw_only=True, tag="zone.change-state"):
    """Enable a zone, or disable it: no VM is placed in it any more, and those that run stay as they are."""

    http: ClassVar[Http] = action("/zones/{uuid}/actions", "changeZoneState")
    entity: ClassVar[str | None] = "Zone"


class DeleteZone(ApiDelete, frozen=True, kw_only=True, tag="zone.delete"):
    """Delete a zone that is empty; with ``deleteMode=Enforcing`` everything in it goes first, VMs and volumes included.

    Errors: ``zone.in-use`` (with what is in it), ``cascade.not-deleted``.
    """

    http: ClassVar[Http] = delete("/zones/{uuid}")
    entity: ClassVar[str | None] = "Zone"

    uuid: Uuid
