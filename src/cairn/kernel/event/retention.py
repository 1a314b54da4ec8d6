"""Removes old events, in small bites, and never one that a durable subscriber must still hear.

A subscriber holds the events that it hears and has not been told, and those of its resources that it is owed. If no node has
the subscriber any more (its plugin is gone), it holds them for a time; then it is forgotten, and begins anew if it comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import bindparam, func, select

from cairn.kernel import limits
from cairn.kernel.clock import Clock
from cairn.kernel.config import Setting
from cairn.kernel.event.log import EventLog
from cairn.kernel.event.model import DeliveryState, EventCursor, EventDelivery, EventRow
from cairn.kernel.store.record import Record, info, table_of
from cairn.kernel.store.store import Store, Tx

#: rows of one transaction: others write in between
BITE: Final = 500
#: set-aside events that are kept for one subscriber
MOST_SET_ASIDE: Final = 10_000

_event, _delivery = table_of(EventRow), table_of(EventDelivery)
_OLD = (
    select(_event.c.sequence)
    .where(_event.c.create_date < bindparam("before"), _event.c.sequence < bindparam("held"))
    .order_by(_event.c.create_date)
    .limit(BITE)
)
_FIRST_OWED = select(func.min(_delivery.c.sequence)).where(_delivery.c.state == DeliveryState.OWED.value)
_OLD_ASIDE = (
    select(_delivery.c.uuid)
    .where(_delivery.c.state == DeliveryState.SET_ASIDE.value, _delivery.c.last_op_date < bindparam("before"))
    .limit(BITE)
)
_ASIDE_BEYOND = (
    select(_delivery.c.uuid)
    .where(_delivery.c.state == DeliveryState.SET_ASIDE.value, _delivery.c.subscriber == bindparam("subscriber"))
    .order_by(_delivery.c.last_op_date.desc(), _delivery.c.sequence.desc())
    .limit(BITE)
    .offset(MOST_SET_ASIDE)
)
_NO_EVENT: Final = 2**62
_log = structlog.get_logger("cairn.event")


class Retention:
    """Keeps the tables of events small.

    Args:
        retention_seconds: how long events are kept.
        setting: reads the settings about subscribers.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        log: EventLog,
        retention_seconds: Callable[[], float],
        setting: Callable[[Setting[int]], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._retention_seconds = retention_seconds
        self._setting = setting

    async def clean(self, alive: frozenset[str]) -> None:
        """Remove what is too old.

        Args:
            alive: the durable subscribers that this node has.
        """
        cursors = await self._store.write(lambda tx: self._alive(tx, alive))
        before = self._clock.now() - timedelta(seconds=self._retention_seconds())
        held = await self._store.read(lambda tx: self._held(tx, cursors, before, alive))
        await self._bites(EventRow, lambda tx: _keys(tx.rows(_OLD, {"before": before, "held": held})))
        await self._clean_set_aside({cursor.name for cursor in cursors})

    def _alive(self, tx: Tx, alive: frozenset[str]) -> list[EventCursor]:
        """Note which subscribers there are, and forget those that have been gone for too long."""
        limit = tx.now - timedelta(seconds=self._setting(limits.EVENT_SUBSCRIBER_RETENTION))
        kept: list[EventCursor] = []
        for cursor in tx.find(EventCursor):
            if cursor.name in alive or cursor.alive_date is None:
                tx.update(EventCursor, cursor.name, alive_date=tx.now)
            elif cursor.alive_date < limit:
                _log.warning("event.subscriber-forgotten", subscriber=cursor.name, gone_since=str(cursor.alive_date))
                tx.delete(EventCursor, cursor.name)
                tx.delete_where(EventDelivery, subscriber=cursor.name, state=DeliveryState.OWED)
                continue
            kept.append(cursor)
        return kept

    def _held(self, tx: Tx, cursors: list[EventCursor], before: datetime, alive: frozenset[str]) -> int:
        """The first event that must stay; the newest always does, so that its number is not given again after a restore."""
        held = min(_number(tx.rows(_FIRST_OWED)[0][0]), self._log.last(tx) or _NO_EVENT)
        for cursor in cursors:
            first = self._log.first(tx, cursor.sequence, cursor.names)
            if first is None:
                continue
            held = min(held, first)
            row = tx.get(EventRow, first)
            if cursor.name not in alive and row is not None and row.create_date < before:
                _log.warning(
                    "event.held",
                    subscriber=cursor.name,
                    since=str(row.create_date),
                    hint="no plugin of this node has the subscriber; its events stay until it is back, or is forgotten",
                )
        return held

    async def _clean_set_aside(self, subscribers: set[str]) -> None:
        before = self._clock.now() - timedelta(seconds=self._setting(limits.EVENT_SET_ASIDE_RETENTION))
        await self._bites(EventDelivery, lambda tx: _keys(tx.rows(_OLD_ASIDE, {"before": before})))
        for subscriber in subscribers:
            await self._bites(EventDelivery, partial(_beyond, subscriber=subscriber))

    async def _bites(self, record: type[Record], find: Callable[[Tx], list[object]]) -> None:
        """Delete what `find` finds, BITE rows at a time. It is found by a reader, so the writer only deletes."""
        key = info(record).key.name
        while keys := await self._store.read(find):
            await self._store.write(partial(_delete, record=record, key=key, keys=keys))
            await self._clock.sleep(0)


def _beyond(tx: Tx, subscriber: str) -> list[object]:
    return _keys(tx.rows(_ASIDE_BEYOND, {"subscriber": subscriber}))


def _delete(tx: Tx, record: type[Record], key: str, keys: list[object]) -> int:
    return tx.delete_where(record, **{key: keys})


def _keys(rows: list[tuple[object, ...]]) -> list[object]:
    return [row[0] for row in rows]


def _number(value: object) -> int:
    return _NO_EVENT if value is None else int(str(value))
