"""Old rows go in small bites: many short transactions, each by an index, so that others write in between."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from msgspec import Struct
from sqlalchemy import Select, bindparam, select

from cairn.kernel.store.record import Record, info, table_of
from cairn.kernel.store.store import Store
from cairn.kernel.store.tx import Tx

#: rows that one transaction removes
BITE = 100


class Old(Struct, frozen=True, eq=False):
    """How the next bite of old rows is found."""

    record: type[Record]
    keys: Select[*tuple[object, ...]]


def up_to(record: type[Record], field: str) -> Old:
    """How a bite of the rows is found whose `field` is not after a date; keep it (module level).

    Args:
        record: whose rows.
        field: of dates, with an index: only the rows that go are looked at. A row without a date stays.
    """
    table = table_of(record)
    key, date = table.c[info(record).key.name], table.c[field]
    return Old(record, select(key).where(date <= bindparam("date")).order_by(date).limit(BITE))


async def remove(store: Store, old: Old, date: datetime) -> int:
    """Remove all that is not after `date`. Returns how many there were."""
    removed = 0
    while count := await store.write(partial(_bite, old, date)):
        removed += count
        await asyncio.sleep(0)  # whoever waits comes first
    return removed


def _bite(old: Old, date: datetime, tx: Tx) -> int:
    """Two statements: not every database removes what the same statement looks for."""
    keys = [row[0] for row in tx.rows(old.keys, {"date": date})]
    return tx.delete_where(old.record, **{info(old.record).key.name: keys})
