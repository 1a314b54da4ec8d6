"""Old rows go in small bites: many short transactions, each by an index, so that others write in between."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import Delete, bindparam, delete, select

from cairn.kernel.store.record import Record, info, table_of
from cairn.kernel.store.store import Store

#: rows that one transaction removes
BITE = 100


def up_to(record: type[Record], field: str) -> Delete:
    """The statement that removes a bite of the rows whose `field` is not after a date; keep it (module level).

    Args:
        record: whose rows.
        field: of dates, with an index: only the rows that go are looked at. A row without a date stays.
    """
    table = table_of(record)
    key, date = table.c[info(record).key.name], table.c[field]
    old = select(key).where(date <= bindparam("date")).order_by(date).limit(BITE)
    return delete(table).where(key.in_(old))


async def remove(store: Store, statement: Delete, date: datetime) -> int:
    """Remove all that is not after `date`, by a statement that `up_to` made. Returns how many there were."""
    removed = 0
    while count := await store.write(lambda tx: tx.execute(statement, {"date": date})):
        removed += count
        await asyncio.sleep(0)  # whoever waits comes first
    return removed
