"""Writes rows that any node of a cloud may be the first to write."""

from __future__ import annotations

from cairn.kernel.error import CairnError
from cairn.kernel.store.record import Record
from cairn.kernel.store.store import Store


async def write_first(store: Store, row: Record) -> bool:
    """Write a row, unless there is one with its key already: another node was quicker, and its row is the one. Safe to repeat.

    Returns:
        Whether this call wrote it.
    """
    try:
        await store.write(lambda tx: tx.insert(row))
    except CairnError as error:
        if error.code != "store.duplicate":
            raise
        return False
    return True
