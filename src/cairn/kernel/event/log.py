"""Reads the table of events by its keys, a page at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec import Struct
from sqlalchemy import bindparam, select

from cairn.kernel.event.model import EventRow
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx

#: events in one look
PAGE: Final = 500

_event = table_of(EventRow)
_AFTER = (
    select(_event.c.sequence)
    .where(_event.c.sequence > bindparam("after"))
    .order_by(_event.c.sequence)
    .limit(bindparam("most"))
)
_AFTER_NAMED = _AFTER.where(_event.c.name == bindparam("name"))
_OF_RESOURCE = (
    select(_event.c.sequence, _event.c.name)
    .where(
        _event.c.resource_uuid.is_not_distinct_from(bindparam("resource")),
        _event.c.sequence > bindparam("after"),
        _event.c.sequence <= bindparam("upto"),
    )
    .order_by(_event.c.sequence)
    .limit(bindparam("most"))
)


class Page(Struct, frozen=True, kw_only=True):
    """Some events, and the number up to which there are no others."""

    rows: list[EventRow]
    upto: int
    more: bool  #: whether there may be others behind it


class EventLog:
    """The events of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def last(self, tx: Tx) -> int:
        """The newest event's sequence number; 0 when there is none."""
        rows = tx.find(EventRow, order_by="sequence", descending=True, limit=1)
        return rows[0].sequence if rows else 0

    async def page(
        self, after: int, *, names: Collection[str] = (), account: str | None = None, limit: int = PAGE
    ) -> Page:
        """The next events behind sequence number `after`, oldest first; one read, whose cost `limit` bounds.

        Args:
            after: a sequence number.
            names: only events with one of these; empty: with any.
            account: only events of this account; None: of anybody.
            limit: how many are looked at.
        """
        return await self._store.read(lambda tx: self.page_of(tx, after, names, account, limit))

    def page_of(self, tx: Tx, after: int, names: Collection[str], account: str | None, limit: int) -> Page:
        """As `page`, in a transaction."""
        upto = max(
            after, self.last(tx)
        )  # first: what is committed while this reads is behind it, and left for the next page
        keys = [key for key in self._after(tx, after, names, limit) if key <= upto]
        more = len(keys) == limit
        upto = keys[-1] if more else upto
        rows = tx.find(EventRow, sequence=keys, order_by="sequence") if keys else []
        return Page(rows=[row for row in rows if account in (None, row.account_uuid)], upto=upto, more=more)

    def first(self, tx: Tx, after: int, names: Collection[str]) -> int | None:
        """The number of the first event behind `after` with one of these names (none: with any)."""
        keys = self._after(tx, after, names, 1)
        return keys[0] if keys else None

    def next_of(self, tx: Tx, resource: str | None, after: int, upto: int, names: Collection[str]) -> EventRow | None:
        """The first event of a resource behind `after`, `upto` at most, with one of these names (none: with any)."""
        while after < upto:
            found = tx.rows(_OF_RESOURCE, {"resource": resource, "after": after, "upto": upto, "most": PAGE})
            for number, name in found:
                after = int(str(number))
                if not names or name in names:
                    return tx.get(EventRow, after)
            if len(found) < PAGE:
                break
        return None

    def _after(self, tx: Tx, after: int, names: Collection[str], limit: int) -> list[int]:
        given = {"after": after, "most": limit}
        if names:
            found = [row[0] for name in names for row in tx.rows(_AFTER_NAMED, {**given, "name": name})]
        else:
            found = [row[0] for row in tx.rows(_AFTER, given)]
        return sorted(int(str(key)) for key in found)[:limit]
