"""What nodes keep in memory of the database, and how they hear that it has changed.

A record whose rows somebody keeps in memory says so: ``TableMeta(remembered=True)``, or the names of the fields that matter.
Each transaction that changes such a row writes a row of `Invalidation` with the table and the key, in the same commit and
numbered in the order of commits (`numbering.py`); `Tx` sees to that, so that no change can be forgotten. Other nodes read on
from the last number that they know: `Remembered` inside each transaction that uses it, and `cairn.kernel.invalidation` for
all else.

No table that a VM writes to when it is created or started is remembered, or not by the fields that are written then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.store.record import Index, Key, Record, RecordInfo, TableMeta, Text

#: keys of one table in one transaction; beyond, all its rows count as changed
MOST_KEYS = 100

#: a table, and the key of a row of it; None: any row
Touched = tuple[str, str | None]


class Invalidation(Record, frozen=True, kw_only=True):
    """A row, or (without a key) any row of a table, was changed: what is remembered of it is not true any more."""

    meta: ClassVar[TableMeta] = TableMeta(table="invalidation")

    sequence: Annotated[int, Key(auto=True, in_commit_order=True)] = 0
    table_name: Annotated[str, Text(64, exact=True)]
    row_id: Annotated[str | None, Text(255, exact=True)] = None
    create_date: Annotated[datetime, Index()]


def keys_of(record: RecordInfo, equal: Mapping[str, object]) -> list[str | None]:
    """The keys of the rows that have these values; None among them: that is not known."""
    found = equal.get(record.key.name)
    if isinstance(found, str | int):
        return [str(found)]
    if isinstance(found, list | tuple | set | frozenset) and len(found) <= MOST_KEYS:
        return [str(key) for key in found]
    return [None]


def rows_of(touched: Iterable[Touched], now: datetime) -> list[Invalidation]:
    """The rows that tell of all this, each once."""
    by_table: dict[str, set[str | None]] = {}
    for table, key in touched:
        by_table.setdefault(table, set()).add(key)
    found: list[Invalidation] = []
    for table, keys in sorted(by_table.items()):
        those = [None] if None in keys or len(keys) > MOST_KEYS else sorted(key for key in keys if key is not None)
        found += [Invalidation(table_name=table, row_id=key, create_date=now) for key in those]
    return found
