"""Tells durable subscribers: each event at least once, those of one resource in order, whatever happens meanwhile.

The events of one resource form a lane. Lanes go on side by side, so a resource whose events cannot be handled, or whose
handling takes long, holds up no other. In a lane one event follows the other: what is behind one that fails waits until that
one is taken, or was set aside after so many tries.

**What a crash leaves.** The cursor says up to where nothing needs to be read again. It moves past an event only when the event
was told, or when its lane is written down: a row of `EventDelivery`, Owed, that names the first event of that resource which
is not told yet. The next run begins with these lanes, then reads on from the cursor. So an event is told twice when the crash
came between its telling and the writing; it is never skipped.

**What is in memory** is bounded: so many lanes (a setting), and for a lane that is slow nothing but where it is. Its later events
are read again when their turn comes. If all lanes are taken, reading waits for one to end; each does, for after the last try
an event is set aside.

**Where it runs**: on the one node that the ring names (`turn.py`). Every write makes sure of that first; one that is refused ends
the lanes here, and what they had not written down is told by the node that has the cursor now.

**Set aside** is what no try has helped: the row stays, with a copy of the event, until it is told again on demand, forgotten or
too old. The lane goes on behind it. An event is only a reason to look, so a later one makes up for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from hashlib import blake2b
from typing import Final, TypeVar

import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.bus.message import Event, tag_of
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.event.log import EventLog
from cairn.kernel.event.model import DeliveryState, EventCursor, EventDelivery, EventRow
from cairn.kernel.event.subscriber import Subscription, Teller
from cairn.kernel.event.turn import HANDOVER_SECONDS, NotOursError, Turn
from cairn.kernel.store.store import Store, Tx

#: how long the events behind it wait for one that is being told, before they are told beside it
PATIENCE_SECONDS: Final = 1.0
#: between two looks whether another node has given the cursor up
_LOOK_SECONDS: Final = 0.25
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 300.0
_log = structlog.get_logger("cairn.event")
T = TypeVar("T")


class EventSetAside(Event, frozen=True, kw_only=True, tag="event.set-aside"):
    """A durable subscriber failed at an event so often that it is not told again by itself.

    It can be told again (`RetryEventDelivery`) once the reason is put right.
    """

    delivery: str  #: the uuid of the `EventDelivery`
    subscriber: str
    name: str  #: of the event
    sequence: int  #: of the event
    tries: int
    error: str  #: what the subscriber failed with last


class Bounds(Struct, frozen=True, kw_only=True):
    """How often and for how many a subscriber is tried; read whenever they are needed."""

    tries: Callable[[], int]  #: before an event is set aside
    lanes: Callable[[], int]  #: resources whose events are told at a time


class _Owed(Struct, frozen=True, kw_only=True):
    """A lane as it is written down: what must be told of its resource is behind `sequence`, and at most `newest`."""

    resource: str | None
    sequence: int
    newest: int
    tries: int
    error: str | None
    since: datetime | None


class _Lane:
    """The events of one resource that are to be told."""

    def __init__(self, resource: str | None, sequence: int) -> None:
        self.resource = resource
        self.sequence = sequence  #: up to here they were told, or set aside
        self.newest = sequence  #: of those that were met
        self.rows: deque[EventRow] = deque()  #: of those, what is in memory; none if it is slow
        self.slow = False  #: it failed or takes long: nobody waits for it
        self.ended = False
        self.recorded = 0  #: the newest event that its row in the database covers; 0: it never had one
        self.tries = 0
        self.error: str | None = None
        self.since: datetime | None = None
        self.news = asyncio.Event()

    def meet(self, row: EventRow) -> None:
        """There is one more event."""
        self.newest = max(self.newest, row.sequence)
        if not self.slow:
            self.rows.append(row)
        self.news.set()

    def slow_down(self) -> None:
        """Let nobody wait for it, and keep nothing in memory."""
        self.slow = True
        self.rows.clear()

    def told(self, row: EventRow) -> None:
        """An event was taken, or set aside."""
        self.sequence = row.sequence
        self.tries, self.error, self.since = 0, None, None

    def failed(self, error: str, now: datetime) -> None:
        """The subscriber failed at the event whose turn it is."""
        self.tries += 1
        self.error = error
        self.since = self.since or now

    def owed(self) -> _Owed:
        """As it stands now, to be written down."""
        self.recorded = self.newest
        return _Owed(
            resource=self.resource,
            sequence=self.sequence,
            newest=self.newest,
            tries=self.tries,
            error=self.error,
            since=self.since,
        )


class Delivery:
    """Tells one durable subscriber.

    Args:
        emit: tells an event of the delivery's own, in a transaction.
        turn: says whether it is this node that tells.
    """

    def __init__(
        self,
        subscription: Subscription,
        store: Store,
        clock: Clock,
        log: EventLog,
        teller: Teller,
        bounds: Bounds,
        emit: Callable[[Tx, Event, str | None], None],
        turn: Turn,
    ) -> None:
        self.subscription = subscription
        self.fresh = asyncio.Event()  #: set when there may be something to tell
        self.set_aside = 0  #: events that wait for somebody
        self._store = store
        self._clock = clock
        self._log = log
        self._teller = teller
        self._bounds = bounds
        self._emit = emit
        self._turn = turn
        self._refused = False  # a write was: another node has the cursor
        self._changed = asyncio.Event()  # the ring may name another node
        self._sequence = 0
        self._lanes: dict[str | None, _Lane] = {}
        self._moved = asyncio.Event()  # a lane has ended or become slow
        self._tasks = Tasks()

    @property
    def owed(self) -> int:
        """Resources whose events are being told, or told again."""
        return len(self._lanes)

    def prepare(self, tx: Tx, last: int) -> None:
        """Make the cursor if there is none, and write down what the subscriber hears."""
        name = self.subscription.name
        if tx.get(EventCursor, name) is None:
            tx.insert(EventCursor(name=name, sequence=last))
        tx.update(EventCursor, name, names=sorted(self.subscription.names), alive_date=tx.now)

    async def run(self) -> None:
        """Tell of events as they come, whenever it is this node's turn, until cancelled."""
        while True:
            await self._await_turn()
            try:
                await self._tell_on()
            except NotOursError:
                self._refused = True
            await self._step_down()

    def look_again(self) -> None:
        """The ring has changed: it may name another node now."""
        self._changed.set()
        self.fresh.set()

    # -- whose turn it is ---------------------------------------------------------------------------------------------

    async def _await_turn(self) -> None:
        """Wait until the ring names this node, and take the cursor."""
        since: float | None = None
        while True:
            self._changed.clear()
            if not self._turn.is_mine:
                since = None
                await self._changed.wait()
                continue
            now = self._clock.monotonic()
            since = now if since is None else since
            if await self._take_turn(overdue=now - since >= HANDOVER_SECONDS):
                return
            await self._look_again_soon()

    async def _look_again_soon(self) -> None:
        """Wait a moment for the node that has the cursor, or until the ring changes again."""
        timer = self._clock.call_later(_LOOK_SECONDS, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()

    async def _take_turn(self, *, overdue: bool) -> bool:
        name = self.subscription.name

        def fn(tx: Tx) -> tuple[EventCursor, list[EventDelivery], int] | None:
            cursor = self._turn.take(tx, overdue=overdue)
            if cursor is None:
                return None
            rows = tx.find(EventDelivery, subscriber=name, state=DeliveryState.OWED)
            return cursor, rows, tx.count(EventDelivery, subscriber=name, state=DeliveryState.SET_ASIDE)

        taken = await self._surely(lambda: self._store.write(fn))
        if taken is None:
            return False
        cursor, rows, self.set_aside = taken
        self._sequence, self._refused = cursor.sequence, False
        for row in rows:
            self._resume(row)
        return True

    async def _tell_on(self) -> None:
        while self._turn.is_mine and not self._refused:
            self.fresh.clear()
            if not await self._read_on():
                await self.fresh.wait()

    async def _step_down(self) -> None:
        """End what is being told, and leave the cursor to the node that the ring names."""
        await self._tasks.stop()
        self._lanes.clear()
        self.set_aside = 0
        _log.info("event.subscriber-passed-on", subscriber=self.subscription.name, refused=self._refused)
        if not self._refused:
            await self._surely(lambda: self._store.write(self._turn.give_up))

    async def stop(self) -> None:
        """End what is being told; it is told again at the next start. Safe to repeat."""
        await self._tasks.stop()

    def hurry(self, resource: str | None) -> None:
        """Do not wait any longer before the next try of what is owed to a resource."""
        if resource in self._lanes:
            self._lanes[resource].news.set()

    async def tell(self, row: EventRow) -> str | None:
        """Tell of one event out of turn. Returns what the subscriber failed with; None: it took it."""
        return await self._teller.tell(self.subscription, row)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read_on(self) -> bool:
        """Take up the next events. Returns whether there may be more."""
        page = await self._surely(lambda: self._log.page(self._sequence, names=self.subscription.names))
        opened = [lane for row in page.rows if (lane := await self._take(row)) is not None]
        await self._wait_for(opened)
        if page.rows:
            await self._keep(page.upto)
        self._sequence = page.upto
        return page.more

    async def _take(self, row: EventRow) -> _Lane | None:
        """Put an event into its lane. Returns the lane if that had to be opened."""
        found = self._lanes.get(row.resource_uuid)
        lane = found or await self._open(row.resource_uuid, row.sequence - 1)
        lane.meet(row)
        return None if found else lane

    async def _open(self, resource: str | None, sequence: int) -> _Lane:
        if len(self._lanes) >= self._bounds.lanes():
            _log.warning("event.subscriber-full", subscriber=self.subscription.name, resources=len(self._lanes))
        while len(self._lanes) >= self._bounds.lanes():
            self._moved.clear()
            await self._moved.wait()
        lane = _Lane(resource, sequence)
        self._begin(lane)
        return lane

    def _begin(self, lane: _Lane) -> None:
        self._lanes[lane.resource] = lane
        self._tasks.start(self._go(lane), f"events of {lane.resource} for {self.subscription.name}")

    def _resume(self, row: EventDelivery) -> None:
        """Go on with a lane that an earlier run has left."""
        lane = _Lane(row.resource_uuid, row.sequence - 1)
        lane.newest = max(row.sequence, self._sequence)
        lane.recorded = lane.newest
        lane.tries, lane.error, lane.since = row.tries, row.error, row.create_date
        lane.slow_down()
        self._begin(lane)

    async def _wait_for(self, lanes: Collection[_Lane]) -> None:
        """Wait a little for lanes to end; those that do not are slow."""
        if not lanes:
            return
        until = self._clock.monotonic() + PATIENCE_SECONDS
        timer = self._clock.call_later(PATIENCE_SECONDS, self._moved.set)
        try:
            while any(not (lane.ended or lane.slow) for lane in lanes) and self._clock.monotonic() < until:
                self._moved.clear()
                await self._moved.wait()
        finally:
            timer.cancel()
        for lane in lanes:
            if not lane.ended:
                lane.slow_down()

    async def _keep(self, sequence: int) -> None:
        """Write down that everything up to there was told, or is owed."""

        async def write() -> None:
            behind = [lane for lane in self._lanes.values() if lane.newest > lane.recorded or lane in again]
            again.extend(behind)
            owed = [lane.owed() for lane in behind]

            def fn(tx: Tx) -> None:
                self._turn.hold(tx, sequence=sequence)
                for lane in owed:
                    self._record(tx, lane)

            await self._store.write(fn)

        again: list[_Lane] = []  # those that a failed write was to have written
        await self._surely(write)

    # -- one lane -----------------------------------------------------------------------------------------------------

    async def _go(self, lane: _Lane) -> None:
        """Tell of a resource's events, one after the other, until there are no more."""
        try:
            while lane.sequence < lane.newest:
                row = lane.rows.popleft() if lane.rows else await self._again(lane)
                if row is not None:
                    await self._tell(lane, row)
        except NotOursError:
            self._refused = True
            self.fresh.set()
        lane.ended = True
        del self._lanes[lane.resource]
        self._moved.set()

    async def _again(self, lane: _Lane) -> EventRow | None:
        """Read the event whose turn it is; None: there is none."""
        upto, names = lane.newest, self.subscription.names
        row = await self._surely(
            lambda: self._store.read(lambda tx: self._log.next_of(tx, lane.resource, lane.sequence, upto, names))
        )
        if row is None:
            lane.sequence = upto
            await self._write_down(lane)  # what it owed has been deleted
        return row

    async def _tell(self, lane: _Lane, row: EventRow) -> None:
        """Tell of one event until it is taken, or set aside."""
        while True:
            lane.news.clear()
            error = await self.tell(row)
            if error is None:
                lane.told(row)
                if lane.recorded:
                    await self._write_down(lane)
                return
            lane.failed(error, self._clock.now())
            lane.slow_down()
            self._moved.set()
            if lane.tries >= self._bounds.tries():
                await self._put_aside(lane, row)
                return
            await self._write_down(lane)
            await self._pause(lane)

    async def _pause(self, lane: _Lane) -> None:
        """Wait before the next try: longer each time, shorter if there is news of the resource."""
        await self._clock.sleep(_FIRST_RETRY_SECONDS)
        rest = min(_FIRST_RETRY_SECONDS * 2 ** (lane.tries - 1), _LONGEST_RETRY_SECONDS) - _FIRST_RETRY_SECONDS
        if rest <= 0:
            return
        timer = self._clock.call_later(rest, lane.news.set)
        try:
            await lane.news.wait()
        finally:
            timer.cancel()

    async def _write_down(self, lane: _Lane) -> None:
        """Bring the lane's row up to date."""

        async def write() -> None:
            owed = lane.owed()

            def fn(tx: Tx) -> None:
                self._turn.hold(tx)
                self._record(tx, owed)

            await self._store.write(fn)

        await self._surely(write)

    async def _put_aside(self, lane: _Lane, row: EventRow) -> None:
        error, since, tries = lane.error or "", lane.since, lane.tries
        subscriber = self.subscription.name
        lane.told(row)

        async def write() -> int:
            owed = lane.owed()

            def fn(tx: Tx) -> int:
                self._turn.hold(tx)
                self._record(tx, owed)
                given = replace(owed, tries=tries, error=error, since=since)
                tx.delete(EventDelivery, _uuid(subscriber, row.sequence))
                tx.insert(self._row(tx, row, given, DeliveryState.SET_ASIDE))
                self._tell_aside(tx, row, tries, error)
                return tx.count(EventDelivery, subscriber=subscriber, state=DeliveryState.SET_ASIDE)

            return await self._store.write(fn)

        self.set_aside = await self._surely(write)
        _log.error("event.set-aside", subscriber=subscriber, told=row.name, sequence=row.sequence, error=error)

    def _tell_aside(self, tx: Tx, row: EventRow, tries: int, error: str) -> None:
        if row.name == tag_of(EventSetAside):
            return  # whoever fails at such events would make more and more of them
        name, uuid = self.subscription.name, _uuid(self.subscription.name, row.sequence)
        event = EventSetAside(
            delivery=uuid, subscriber=name, name=row.name, sequence=row.sequence, tries=tries, error=error
        )
        self._emit(tx, event, row.resource_uuid)

    # -- the database -------------------------------------------------------------------------------------------------

    def _record(self, tx: Tx, owed: _Owed) -> None:
        """Write down what a lane owes; nothing is left of a lane that owes nothing."""
        name = self.subscription.name
        tx.delete_where(EventDelivery, subscriber=name, resource_uuid=owed.resource, state=DeliveryState.OWED)
        row = self._log.next_of(tx, owed.resource, owed.sequence, owed.newest, self.subscription.names)
        if row is not None:
            tx.delete(EventDelivery, _uuid(name, row.sequence))
            tx.insert(self._row(tx, row, owed, DeliveryState.OWED))

    def _row(self, tx: Tx, row: EventRow, owed: _Owed, state: DeliveryState) -> EventDelivery:
        name = self.subscription.name
        return EventDelivery(
            uuid=_uuid(name, row.sequence),
            subscriber=name,
            state=state,
            sequence=row.sequence,
            name=row.name,
            resource_uuid=row.resource_uuid,
            job_uuid=row.job_uuid,
            account_uuid=row.account_uuid,
            content=row.content,
            event_date=row.create_date,
            tries=owed.tries,
            error=owed.error,
            last_op_date=tx.now,
            create_date=owed.since or tx.now,
        )

    async def _surely(self, work: Callable[[], Awaitable[T]]) -> T:
        return await self._teller.surely(self.subscription.name, work)


def _uuid(subscriber: str, sequence: int) -> str:
    """The same for the same event and subscriber, so that it is written down once."""
    return blake2b(f"{sequence}:{subscriber}".encode(), digest_size=16, person=b"cairn-delivery").hexdigest()
