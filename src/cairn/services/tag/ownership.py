"""The check that an account owns a resource before it hangs tags on it. Seeing a shared resource is not enough."""

from __future__ import annotations

from difflib import get_close_matches

from cairn.kernel.error import invalid, not_found
from cairn.kernel.resource import Resource
from cairn.kernel.store.record import Named, info
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Tx
from cairn.services.identity.model import is_admin


class Ownership:
    """Looks up the owners of resources of all types."""

    def __init__(self, schema: Schema) -> None:
        self._types = {
            name: here.record
            for name, here in schema.by_entity.items()
            if issubclass(here.record, Named) and here.meta.extends is None
        }

    def owns(self, tx: Tx, uuid: str, actor: str | None) -> bool:
        """Tell whether a resource is there, and belongs to `actor` or that is an admin. Its tags change one after the other."""
        row = tx.get(Resource, uuid, lock=True)
        return row is not None and _owns(tx, row, actor)

    def check(self, tx: Tx, uuid: str, actor: str | None, entity: str | None = None) -> None:
        """See that a resource is there, and belongs to `actor` unless that is an admin. Its tags change one after the other.

        Args:
            entity: the type that the caller takes it for; None: any type.

        Raises:
            CairnError: ``tag.unknown-resource-type``, ``tag.wrong-resource-type``; ``<noun>.not-found``, for what belongs to
                another account too.
        """
        if entity is not None and entity not in self._types:
            near = ", ".join(get_close_matches(entity, self._types, n=3) or sorted(self._types))
            raise invalid("tag.unknown-resource-type", "resourceType", entity, f"{near} would fit")
        row = tx.get(Resource, uuid, lock=True)
        if row is None or not _owns(tx, row, actor):
            kind = info(self._types.get(entity or (row.type if row is not None else ""), Resource))
            raise not_found(kind.noun, "resourceUuid", uuid, kind.title)
        if entity is not None and row.type != entity:
            raise invalid(
                "tag.wrong-resource-type", "resourceType", entity, f"{row.type}, which {row.name} is, would fit"
            )


def _owns(tx: Tx, row: Resource, actor: str | None) -> bool:
    return is_admin(tx, actor) or row.account_uuid == actor
