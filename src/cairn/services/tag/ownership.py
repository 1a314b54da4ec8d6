"""Whether an account may hang tags on a resource: it must own it. To see it, because it is shared, is not enough."""

from __future__ import annotations

from difflib import get_close_matches

from cairn.kernel.api import command_name
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.store.record import Record, RecordInfo
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Tx
from cairn.services.identity.model import is_admin


class Ownership:
    """Looks up who owns what, for every entity of the schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def check(self, tx: Tx, entity: str, uuid: str, actor: str | None, *, may_be_gone: bool = False) -> None:
        """See that the resource exists, and belongs to `actor` unless that is an admin.

        Args:
            may_be_gone: let an admin do what is to be done to something that does not exist, too.

        Raises:
            CairnError: ``tag.unknown-resource-type``; ``<noun>.not-found``, also for what is another's.
        """
        admin = is_admin(tx, actor)
        if admin and may_be_gone:
            return
        here = self._schema.by_entity.get(entity)
        if here is None:
            raise self._unknown(entity)
        if tx.get(here.record, uuid) is None or not (admin or self._owner(tx, here, uuid) == actor):
            raise not_found(command_name(entity), "resourceUuid", uuid)

    def _owner(self, tx: Tx, here: RecordInfo, uuid: str) -> str | None:
        """Whose it is; None: nobody's but the cloud's."""
        row = tx.get(here.record, uuid)
        if row is None:
            return None
        if here.owner is not None:
            return _text(row, here.owner.name)
        if here.meta.owned_by is not None:
            reference = here.by_name[here.meta.owned_by].reference
            other = _text(row, here.meta.owned_by)
            if reference is None or other is None:
                return None
            return self._owner(tx, self._schema.target(here.record, reference), other)
        if here.meta.extends is not None:
            return self._owner(tx, self._schema.resolve(here.record, here.meta.extends.parent), uuid)
        return None

    def _unknown(self, entity: str) -> CairnError:
        names = sorted(self._schema.by_entity)
        near = get_close_matches(entity, names, n=3) or names
        return CairnError(
            "tag.unknown-resource-type",
            f"resourceType: found {entity!r}; there are no such resources. {', '.join(near)} would fit.",
            kind=ErrorKind.INVALID,
            fields={"resourceType": f"found {entity!r}; {', '.join(near)} would fit"},
        )


def _text(row: Record, name: str) -> str | None:
    value: object = getattr(row, name)
    return value if isinstance(value, str) else None
