"""Deleting a zone."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import DeleteMode
from cairn.kernel.cascade import Cascade
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.zone.model import Zone


class EraseZoneInput(Struct, frozen=True, kw_only=True):
    """Which zone, and how."""

    resource_uuid: str
    delete_mode: DeleteMode


class EraseZone(TransactionStep[EraseZoneInput, Nothing]):
    """Forget an empty zone; refuse one in which something is left."""

    name = "zone.erase"
    title = "forgetting the zone"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, cascade: Cascade, tags: Tags) -> None:
        self._cascade = cascade
        self._tags = tags

    def do(self, tx: Tx, given: EraseZoneInput) -> Nothing:
        """Erase."""
        zone = tx.get(Zone, given.resource_uuid)
        if zone is None:
            return NOTHING
        permissive = given.delete_mode is DeleteMode.PERMISSIVE
        self._cascade.refuse(tx, Zone, zone.uuid, noun="zone", name=zone.name, can_enforce=permissive)
        self._tags.forget(tx, zone.uuid)
        tx.delete(Zone, zone.uuid)
        return NOTHING
