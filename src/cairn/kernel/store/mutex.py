"""Mutexes by name, for rules about rows that are not there yet.

A row can be locked (``lock=True``) only if it is there. A rule like "at most one zone is the default" is about all zones, also
those that another transaction is about to make; where no row stands for all of them, a name does::

    def fn(tx: Tx) -> Reference:
        hold(tx, "zone.default")
        ...

Take it before anything else is read, and seldom: whoever needs it waits for the holder's commit.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.store.record import Key, Record, TableMeta
from cairn.kernel.store.tx import Tx


class Mutex(Record, frozen=True, kw_only=True):
    """A name that transactions hold, one at a time. The row stays for the next."""

    meta: ClassVar[TableMeta] = TableMeta(table="mutex")

    name: Annotated[str, Key()]


def hold(tx: Tx, name: str) -> None:
    """Have nobody else hold the name before the end of this transaction; who holds it is waited for first.

    Args:
        name: of the rule, in the code: ``zone.default``. Never from a call: the row stays.
    """
    if tx.get(Mutex, name, lock=True) is None:
        tx.insert(Mutex(name=name))  # if another makes it at the same time, this function is run again
