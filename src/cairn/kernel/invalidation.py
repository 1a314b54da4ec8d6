"""Forgetting what other nodes have changed.

Parts of a node keep in memory what they have read of the database: addresses of agents, settings, sessions. What such a part
remembers of a record, it has told of::

    node.invalidation.on(Host, self._forget)

A change is a row of `cairn.kernel.store.invalidation.Invalidation`, written by the transaction that made it and numbered in
the order of commits. Each node reads on from the number that it knows: each second, and at once when another node says on the
bus that there is something (`cairn.kernel.news`). So what is lost on the bus is late by a second, and nothing is missed: a
node that could not read on (it was stopped, or the rows were cleaned away meanwhile) forgets everything. A node that is alone
reads nothing: what it changes itself it sees to itself.

`docs/caches.md` lists what is remembered, and how old it may be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from inspect import isawaitable
from typing import Final, TypeVar, cast

import structlog
from sqlalchemy import bindparam, func, select

from cairn.kernel.clock import Clock
from cairn.kernel.store.invalidation import Invalidation
from cairn.kernel.store.record import Record, table_of
from cairn.kernel.store.store import Store, Tx

#: between two looks at what other nodes have changed
LOOK_SECONDS: Final = 1.0
#: how long rows are kept; a node that has not read on for longer forgets everything
KEEP_SECONDS: Final = 3600.0
_PAGE: Final = 1000
_log = structlog.get_logger("cairn.invalidation")

#: the keys of the rows that were changed; None: any
Keys = frozenset[str] | None
Call = Callable[[Keys], Awaitable[None] | None]
K = TypeVar("K", bound=str)
V = TypeVar("V")

_row = table_of(Invalidation)
_NEWEST = select(func.max(_row.c.sequence))
_BEHIND = (
    select(_row.c.sequence, _row.c.table_name, _row.c.row_id)
    .where(_row.c.sequence > bindparam("after"))
    .order_by(_row.c.sequence)
    .limit(_PAGE)
)
_OLD = (
    select(_row.c.sequence)
    .where(_row.c.create_date < bindparam("before"), _row.c.sequence < bindparam("newest"))
    .order_by(_row.c.create_date)
    .limit(_PAGE)
)


class Invalidations:
    """Tells the parts of one node what other nodes have changed.

    Args:
        alone: whether there is no other node.
    """

    def __init__(self, store: Store, clock: Clock, alone: Callable[[], bool]) -> None:
        self._store = store
        self._clock = clock
        self._alone = alone
        self._calls: dict[str, list[Call]] = {}
        self._sequence = 0

    def on(self, record: type[Record], call: Call) -> None:
        """Have `call` told of changes of a record's rows, from now on.

        It is given the keys of the rows that may have changed; None: any may have. It may be told of a change more than once,
        of changes by this node as well, and of more than has changed. It must not raise; if it does, it is told again.

        Args:
            record: one with ``TableMeta(remembered=…)``, or of whose changes `Tx.tell` is told.
            call: forgets what is remembered, or reads it again.
        """
        self._calls.setdefault(record.meta.table, []).append(call)

    async def start(self) -> None:
        """Begin with what is changed from now on; before anything is read that is remembered."""
        self._sequence = await self._store.read(_newest)

    async def look(self) -> None:
        """Read on, and tell of what was changed. Raises what a call raises; the others are told all the same."""
        if not self._alone():
            while await self._read_on():
                pass

    async def clean(self) -> None:
        """Remove rows that every node has read. The newest stays: a node that comes late sees by it that it has missed some."""
        before = self._clock.now() - timedelta(seconds=KEEP_SECONDS)

        def old(tx: Tx) -> list[int]:
            return [_int(row[0]) for row in tx.rows(_OLD, {"before": before, "newest": _newest(tx)})]

        while keys := await self._store.read(old):
            await self._store.write(lambda tx, those=keys: tx.delete_where(Invalidation, sequence=those))  # type: ignore[misc]
            await self._clock.sleep(0)

    async def _read_on(self) -> bool:
        """Tell of the next page. Returns whether there may be another."""
        rows = await self._store.read(lambda tx: tx.rows(_BEHIND, {"after": self._sequence}))
        if not rows:
            return False
        if _int(rows[0][0]) != self._sequence + 1:
            await self._tell_all()
            return False
        changed: dict[str, set[str] | None] = {}
        for _, table, key in rows:
            known = changed.setdefault(str(table), set())
            if key is None:
                changed[str(table)] = None
            elif known is not None:
                known.add(str(key))
        await self._tell({table: None if keys is None else frozenset(keys) for table, keys in changed.items()})
        self._sequence = _int(rows[-1][0])
        return len(rows) == _PAGE

    async def _tell_all(self) -> None:
        """Some rows are gone, or are none of this node's time: anything may have changed."""
        newest = await self._store.read(_newest)
        _log.info("invalidation.all", known=self._sequence, newest=newest)
        await self._tell(dict.fromkeys(self._calls))
        self._sequence = newest

    async def _tell(self, changed: dict[str, Keys]) -> None:
        failed: list[Exception] = []
        for table, keys in changed.items():
            for call in self._calls.get(table, ()):
                try:
                    answer = call(keys)
                    if isawaitable(answer):
                        await answer
                except Exception as error:  # noqa: BLE001 (the others are told all the same; then all are told again)
                    failed.append(error)
        if failed:
            raise failed[0]


def forget(known: MutableMapping[K, V], keys: Keys) -> None:
    """Forget what is known by these keys; None: all."""
    if keys is None:
        known.clear()
        return
    for key in keys:
        known.pop(cast("K", key), None)


def _newest(tx: Tx) -> int:
    return _int(tx.rows(_NEWEST)[0][0] or 0)


def _int(value: object) -> int:
    return int(str(value))
