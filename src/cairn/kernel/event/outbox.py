"""Canonical events: facts about the cloud, told to subscribers once they are durable.

An event is written by the transaction that made it true (the outbox), so it is never told before the commit and never lost.
After the commit it is delivered to named subscribers inside the process and to streams outside. A durable subscriber (one with
a name and ``durable=True``) goes on after a restart where it had stopped; it may be told the same event twice, never none.

An event is only a reason to look. By the time it is told, more may have happened, and what it is about may be gone: a
subscriber reads what is true now, and takes an event about something that is gone as done.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import msgspec

from cairn.kernel import limits
from cairn.kernel.bus.message import Event, message_types, tag_of
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.config import Setting
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event.delivery import Bounds, Delivery
from cairn.kernel.event.feed import Feed
from cairn.kernel.event.log import PAGE, EventLog
from cairn.kernel.event.model import DeliveryState, EventDelivery, EventRow
from cairn.kernel.event.retention import Retention
from cairn.kernel.event.seats import Seats
from cairn.kernel.event.subscriber import Listener, Subscriber, Subscription, Teller
from cairn.kernel.event.turn import Begin, Turn
from cairn.kernel.ids import NodeId
from cairn.kernel.metrics import Metrics
from cairn.kernel.news import News
from cairn.kernel.store.store import Store, Tx


def as_shipped(setting: Setting[int]) -> int:
    """A setting's default, where there is no configuration."""
    return setting.default


class Events:
    """The outbox and its readers.

    Args:
        retention_seconds: how long events are kept.
        setting: reads the settings of `cairn.kernel.limits` about events.
        metrics: shows what is owed to durable subscribers.
        duties: which durable subscribers this node tells; None: all.
        begin: gives the epoch in which this node may begin work on a key, as `Ownership.begin` does.
        news: tells other nodes that there are events; None: there are no other nodes.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        retention_seconds: Callable[[], float],
        *,
        setting: Callable[[Setting[int]], int] = as_shipped,
        metrics: Metrics | None = None,
        duties: Duties | None = None,
        begin: Begin = lambda tx, key: 0,
        news: News | None = None,
    ) -> None:
        self._store = store
        self._duties = duties or Duties(NodeId("alone"))
        self._begin = begin
        self._news = news
        self._known = 0  # the newest event that the followers were told to look for
        self._clock = clock
        self._log = EventLog(store)
        self._teller = Teller(clock)
        self._setting = setting
        self._bounds = Bounds(
            tries=lambda: setting(limits.EVENT_TRIES), lanes=lambda: setting(limits.EVENT_RESOURCES_AT_A_TIME)
        )
        self._retention = Retention(store, clock, self._log, retention_seconds, setting)
        self._listeners: list[Listener] = []
        self._durable: dict[str, Delivery] = {}
        self._tasks = Tasks()
        self.feed = Feed(store, self._log, clock)  #: hands events to streams
        self.seats = Seats(setting)  #: for streams
        if metrics is not None:
            metrics.gauge(
                "cairn_event_deliveries",
                "Events that durable subscribers were not told yet (Owed: resources with some), or failed at (SetAside).",
                "subscriber",
                "state",
            ).read_from(self._deliveries)
            metrics.gauge("cairn_event_streams", "Streams of events that are open.").read_from(
                lambda: {(): float(len(self.feed))}
            )

    # -- telling ------------------------------------------------------------------------------------------------------

    def emit(
        self, tx: Tx, event: Event, *, resource: str | None = None, job: str | None = None, account: str | None = None
    ) -> None:
        """Tell `event` once this transaction is durable.

        Args:
            tx: the transaction that makes it true.
            event: what happened.
            resource: to what. Durable subscribers hear the events of one resource in their order.
            job: that made it happen.
            account: whose event it is; that account hears of it. None: only administrators do.
        """
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
        tx.after_commit(lambda: self._wake(name, account))

    def _wake(self, name: str, account: str | None) -> None:
        for follower in self._followers():
            if follower.subscription.hears(name):
                follower.fresh.set()
        self.feed.happened(name, account)
        if self._news is not None:
            self._news.emitted(name)

    def _followers(self) -> list[Listener | Delivery]:
        return [*self._listeners, *self._durable.values()]

    def happened_elsewhere(self, names: Collection[str]) -> None:
        """Another node has committed events with these names: look for them at once."""
        for follower in self._followers():
            if any(follower.subscription.hears(name) for name in names):
                follower.fresh.set()
        self.feed.look()

    async def look(self) -> None:
        """See whether other nodes have committed events that this one has not heard of."""
        if self._news is None or self._news.alone:
            return
        newest = await self._store.read(self.last)
        if newest != self._known:
            self._known = newest
            for follower in self._followers():
                follower.fresh.set()
            self.feed.look()

    @property
    def durable(self) -> list[str]:
        """The names of the durable subscribers."""
        return list(self._durable)

    # -- subscribers --------------------------------------------------------------------------------------------------

    def subscribe(self, name: str, events: set[str], call: Subscriber, *, durable: bool = False) -> None:
        """Have `call` told of the events with these names (empty: all), before `start`.

        A subscriber is told of one event after the other, for 300 s each at most. If it raises, that is logged, and it is told
        of the next one. Those that are slow or fail do not hold up others.

        A durable one is told on one node of the cloud, which the ring names for it. It must not rely on more than the order
        of the events of one resource: it is told of several resources at a time. An event that it raises at is told again, later
        each time, while the later ones of the same resource wait; after `event.delivery.maxTries` tries it is set aside
        (`EventDelivery`). So it reads what is true now, does nothing for what is gone, and may be told the same twice.

        Raises:
            CairnError: ``event.subscriber-twice``: two durable subscribers have the same name. ``event.unknown``: nobody
                declares one of the events.
        """
        _check_names(name, events)
        subscription = Subscription(name, frozenset(events), call)
        if not durable:
            self._listeners.append(Listener(subscription, self._log, self._teller))
            return
        if name in self._durable:
            raise CairnError(
                "event.subscriber-twice",
                f"Two durable subscribers are called {name}. Begin the name with the plugin's own.",
                kind=ErrorKind.INTERNAL,
            )
        self._durable[name] = Delivery(
            subscription,
            self._store,
            self._clock,
            self._log,
            self._teller,
            self._bounds,
            lambda tx, event, resource: self.emit(tx, event, resource=resource),
            Turn(name, self._duties, self._begin),
        )

    async def start(self) -> None:
        """Begin delivering: durable subscribers from where they stopped, others from now on."""

        def fn(tx: Tx) -> int:
            last = self.last(tx)
            for delivery in self._durable.values():
                delivery.prepare(tx, last)
            return last

        try:
            last = await self._store.write(fn)
        except CairnError as error:
            if error.code != "store.duplicate":
                raise
            last = await self._store.write(fn)  # another node that starts has made the cursors
        self._duties.listen(self._look_again)
        for delivery in self._durable.values():
            self._tasks.start(delivery.run(), f"events for {delivery.subscription.name}")
        for listener in self._listeners:
            listener.begin(last)
            self._tasks.start(listener.run(), f"events for {listener.subscription.name}")

    def _look_again(self) -> None:
        for delivery in self._durable.values():
            delivery.look_again()

    async def stop(self) -> None:
        """Stop delivering. Safe to repeat."""
        await self._tasks.stop()
        for delivery in self._durable.values():
            await delivery.stop()
        await self.feed.stop()
        self._teller.stop()

    async def tell_again(self, uuid: str) -> None:
        """Tell of an event that was set aside, now and out of turn; one that is owed is tried at once, in its turn.

        An event that was taken meanwhile is success.

        Raises:
            CairnError: ``event-delivery.failed`` with what the subscriber failed with, ``event-delivery.no-subscriber``.
        """
        row = await self._store.read(lambda tx: tx.get(EventDelivery, uuid))
        if row is None:
            return
        delivery = self._durable.get(row.subscriber)
        if delivery is None:
            raise _no_subscriber(row)
        if row.state is DeliveryState.OWED:
            delivery.hurry(row.resource_uuid)
            return
        error = await delivery.tell(row.event)
        delivery.set_aside = await self._store.write(lambda tx: _told_again(tx, row, error))
        if error is not None:
            raise _failed(row, error)

    async def forget(self, uuid: str) -> None:
        """Remove an event that was set aside; one that is gone is success.

        Raises:
            CairnError: ``event-delivery.owed``: it is still told by itself.
        """

        def fn(tx: Tx) -> tuple[str, int] | None:
            row = tx.get(EventDelivery, uuid)
            if row is None:
                return None
            if row.state is DeliveryState.OWED:
                raise _still_owed(row)
            tx.delete(EventDelivery, uuid)
            return row.subscriber, _aside(tx, row.subscriber)

        left = await self._store.write(fn)
        if left is not None and left[0] in self._durable:
            self._durable[left[0]].set_aside = left[1]

    def _deliveries(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for name, delivery in self._durable.items():
            found[name, DeliveryState.OWED.value] = float(delivery.owed)
            found[name, DeliveryState.SET_ASIDE.value] = float(delivery.set_aside)
        return found

    # -- reading ------------------------------------------------------------------------------------------------------

    def last(self, tx: Tx) -> int:
        """The newest event's sequence number; 0 when there is none."""
        return self._log.last(tx)

    async def after(self, sequence: int, limit: int = PAGE, *, names: frozenset[str] = frozenset()) -> list[EventRow]:
        """At most `limit` events behind `sequence` (with one of `names`, if there are any), oldest first."""
        return (await self._log.page(sequence, names=names, limit=limit)).rows

    def stream(
        self, after: int, *, names: frozenset[str] = frozenset(), account: str | None = None
    ) -> AsyncIterator[EventRow | None]:
        """As `Feed.stream`."""
        return self.feed.stream(after, names=names, account=account)

    async def clean(self) -> None:
        """Remove events that are older than the time of keeping and that nobody must still hear."""
        await self._retention.clean(frozenset(self._durable))


def _told_again(tx: Tx, row: EventDelivery, error: str | None) -> int:
    """Write down how another try went. Returns how many events are still set aside for the subscriber."""
    if error is None:
        tx.delete(EventDelivery, row.uuid)
    else:
        tx.update(EventDelivery, row.uuid, tries=row.tries + 1, error=error, last_op_date=tx.now)
    return _aside(tx, row.subscriber)


def _aside(tx: Tx, subscriber: str) -> int:
    return tx.count(EventDelivery, subscriber=subscriber, state=DeliveryState.SET_ASIDE)


def _failed(row: EventDelivery, error: str) -> CairnError:
    return CairnError(
        "event-delivery.failed",
        f"The subscriber {row.subscriber} failed again at {row.name}, number {row.sequence}: {error}. Put that right and "
        "retry, or forget the delivery.",
        kind=ErrorKind.UNAVAILABLE,
    )


def _no_subscriber(row: EventDelivery) -> CairnError:
    return CairnError(
        "event-delivery.no-subscriber",
        f"This node has no subscriber {row.subscriber}; its plugin is left out or gone (cairn get-plugins). Bring it back, "
        "or forget the delivery.",
        kind=ErrorKind.CONFLICT,
    )


def _still_owed(row: EventDelivery) -> CairnError:
    return CairnError(
        "event-delivery.owed",
        f"The event {row.name}, number {row.sequence}, is still told to {row.subscriber} by itself. Only one that was set "
        "aside can be forgotten.",
        kind=ErrorKind.CONFLICT,
    )


def _content(event: Event) -> dict[str, object]:
    content = msgspec.to_builtins(event)
    assert isinstance(content, dict)
    content.pop("@message", None)
    return content


def _check_names(subscriber: str, events: Iterable[str]) -> None:
    """Refuse events that nobody declares: their subscriber would wait for ever."""
    known = {tag for tag, kind in message_types().items() if issubclass(kind, Event)}
    for event in sorted(set(events) - known):
        near = ", ".join(difflib.get_close_matches(event, known, n=3)) or ", ".join(sorted(known))
        raise CairnError(
            "event.unknown",
            f"{subscriber} wants to be told of {event!r}, which is no event. There are: {near}.",
            kind=ErrorKind.INTERNAL,
        )
