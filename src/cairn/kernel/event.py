"""Canonical events: facts about the cloud, told to subscribers once they are durable.

An event is written by the transaction that made it true (the outbox), so it is never told before the commit and never lost.
After the commit it is delivered, in order, to named subscribers inside the process and to streams outside. A durable
subscriber (one with a name and ``durable=True``) goes on after a restart where it had stopped; it may be told the same
event twice, never none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

import msgspec
import structlog
from sqlalchemy import bindparam, delete, select

from cairn.kernel.bus.message import Event, tag_of
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.store.record import Doc, Index, Key, Record, TableMeta, Visible, table_of
from cairn.kernel.store.store import Store, Tx

_log = structlog.get_logger("cairn.event")
_BATCH = 500
_HEARTBEAT_SECONDS = 15.0
#: before a durable subscriber is told again what it had failed at, and before events are read again after trouble
_AGAIN_SECONDS = 1.0


class EventRow(Record, frozen=True, kw_only=True):
    """An event that has happened."""

    meta: ClassVar[TableMeta] = TableMeta(table="event", entity="Event", visible=Visible.ADMIN, path="/event-log")

    sequence: Annotated[int, Key(auto=True), Doc("grows; where a stream takes up again")] = 0
    name: Annotated[str, Index(), Doc("what happened: vm.state-changed")]
    resource_uuid: Annotated[str | None, Index(), Doc("to what")] = None
    job_uuid: Annotated[str | None, Doc("the job that made it happen")] = None
    account_uuid: Annotated[str | None, Doc("who asked for it")] = None
    content: dict[str, object]
    create_date: Annotated[datetime, Index()]


class EventCursor(Record, frozen=True, kw_only=True):
    """How far a durable subscriber is."""

    meta: ClassVar[TableMeta] = TableMeta(table="event_cursor")

    name: Annotated[str, Key()]
    sequence: int


Subscriber = Callable[[EventRow], Awaitable[None]]

_event = table_of(EventRow)
_AFTER = (
    select(_event.c.sequence)
    .where(_event.c.sequence > bindparam("after"))
    .order_by(_event.c.sequence)
    .limit(bindparam("most"))
)
_AFTER_NAMED = _AFTER.where(_event.c.name == bindparam("name"))
_OLD = delete(_event).where(_event.c.create_date < bindparam("before"))


class _Follower:
    """A subscriber, and how far it is."""

    def __init__(self, name: str, events: frozenset[str], call: Subscriber, durable: bool) -> None:
        self.name = name
        self.events = events
        self.call = call
        self.durable = durable
        self.sequence = 0
        self.kept = 0  #: what its row says


class Events:
    """The outbox and its readers.

    Args:
        retention_seconds: how long events are kept.
    """

    def __init__(self, store: Store, clock: Clock, retention_seconds: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._retention_seconds = retention_seconds
        self._followers: list[_Follower] = []
        self._waiters: dict[asyncio.Event, frozenset[str]] = {}  # what each wants to hear of; empty: everything
        self._tasks = Tasks()

    def emit(
        self, tx: Tx, event: Event, *, resource: str | None = None, job: str | None = None, account: str | None = None
    ) -> None:
        """Tell `event` once this transaction is durable."""
        name = tag_of(event)
        tx.insert(
            EventRow(
                name=name,
                resource_uuid=resource,
                job_uuid=job,
                account_uuid=account,
                content=_content(event),
                create_date=tx.now,
            )
        )
        tx.after_commit(lambda: self._wake(name))

    def subscribe(self, name: str, events: set[str], call: Subscriber, *, durable: bool = False) -> None:
        """Have `call` told of the events with these names (empty: all), before `start`.

        A subscriber that raises is logged and told the next one; a durable one is told the same one again. Each has a task
        of its own, so that one that is slow or fails does not hold up the others.
        """
        self._followers.append(_Follower(name, frozenset(events), call, durable))

    async def start(self) -> None:
        """Begin delivering: durable subscribers from where they stopped, others from now on."""
        durable = [follower.name for follower in self._followers if follower.durable]

        def fn(tx: Tx) -> tuple[int, dict[str, int]]:
            last = self.last(tx)
            kept = {row.name: row.sequence for row in tx.find(EventCursor)}
            for name in durable:
                if name not in kept:
                    tx.insert(EventCursor(name=name, sequence=last))
            return last, kept

        last, kept = await self._store.write(fn)
        for follower in self._followers:
            follower.kept = follower.sequence = kept.get(follower.name, last) if follower.durable else last
            self._tasks.start(self._deliver(follower), f"events for {follower.name}")

    async def stop(self) -> None:
        """Stop delivering. Safe to repeat."""
        await self._tasks.stop()

    def last(self, tx: Tx) -> int:
        """The newest event's sequence number; 0 when there is none."""
        rows = tx.find(EventRow, order_by="sequence", descending=True, limit=1)
        return rows[0].sequence if rows else 0

    async def stream(self, after: int, *, names: frozenset[str] = frozenset()) -> AsyncIterator[EventRow | None]:
        """Events behind sequence number `after`, as they come; None about every 15 s in which there is none."""
        fresh = asyncio.Event()
        self._waiters[fresh] = names
        beat = self._clock.monotonic() + _HEARTBEAT_SECONDS
        try:
            while True:
                fresh.clear()
                rows = await self.after(after, names=names)
                for row in rows:
                    after = row.sequence
                    beat = self._clock.monotonic() + _HEARTBEAT_SECONDS
                    yield row
                if self._clock.monotonic() >= beat:
                    beat = self._clock.monotonic() + _HEARTBEAT_SECONDS
                    yield None
                if not rows:
                    await self._wait(fresh, beat)
        finally:
            del self._waiters[fresh]

    async def _wait(self, fresh: asyncio.Event, until: float) -> None:
        timer = self._clock.call_later(max(0.0, until - self._clock.monotonic()), fresh.set)
        try:
            await fresh.wait()
        finally:
            timer.cancel()

    async def after(self, sequence: int, limit: int = _BATCH, *, names: frozenset[str] = frozenset()) -> list[EventRow]:
        """At most `limit` events behind `sequence` (with one of `names`, if there are any), oldest first."""

        def fn(tx: Tx) -> list[EventRow]:
            given = {"after": sequence, "most": limit}
            if names:
                found = [row[0] for name in names for row in tx.rows(_AFTER_NAMED, {**given, "name": name})]
            else:
                found = [row[0] for row in tx.rows(_AFTER, given)]
            keys = sorted(int(str(key)) for key in found)[:limit]
            return tx.find(EventRow, sequence=keys, order_by="sequence") if keys else []

        return await self._store.read(fn)

    async def clean(self) -> None:
        """Remove events that are older than the time of keeping."""
        before = self._clock.now() - timedelta(seconds=self._retention_seconds())
        await self._store.write(lambda tx: tx.execute(_OLD, {"before": before}))

    def _wake(self, name: str) -> None:
        for waiter, names in self._waiters.items():
            if not names or name in names:
                waiter.set()

    async def _deliver(self, follower: _Follower) -> None:
        fresh = asyncio.Event()
        self._waiters[fresh] = follower.events
        try:
            while True:
                fresh.clear()
                if not await self._tell(follower):
                    await fresh.wait()
        finally:
            del self._waiters[fresh]

    async def _tell(self, follower: _Follower) -> bool:
        """Tell a subscriber the events that there are. Returns whether there may be more."""
        try:
            rows = await self.after(follower.sequence, names=follower.events)
            told = await self._tell_each(follower, rows)
            if follower.durable and follower.kept != follower.sequence:
                await self._store.write(lambda tx: _keep(tx, follower.name, follower.sequence))
                follower.kept = follower.sequence
        except CairnError as error:
            _log.warning("event.not-read", subscriber=follower.name, error=str(error))
            rows, told = [], False
        if not told:
            await self._clock.sleep(_AGAIN_SECONDS)
        return bool(rows) or not told

    async def _tell_each(self, follower: _Follower, rows: list[EventRow]) -> bool:
        """Tell one event after another. Returns whether all were told; a durable subscriber that fails hears the rest later."""
        for row in rows:
            try:
                await follower.call(row)
            except Exception as error:  # noqa: BLE001 (whatever a subscriber does, it is told of the next event)
                _log.exception("event.subscriber-failed", subscriber=follower.name, told=row.name, error=str(error))
                if follower.durable:
                    return False
            follower.sequence = row.sequence
        return True


def _keep(tx: Tx, name: str, sequence: int) -> None:
    if not tx.update(EventCursor, name, sequence=sequence):
        tx.insert(EventCursor(name=name, sequence=sequence))


def _content(event: Event) -> dict[str, object]:
    content = msgspec.to_builtins(event)
    assert isinstance(content, dict)
    content.pop("@message", None)
    return content
