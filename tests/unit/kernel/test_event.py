from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cairn.kernel.bus.message import Event
from cairn.kernel.error import CairnError
from cairn.kernel.event import EventCursor, EventRow, Events
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock


class Moved(Event, frozen=True, kw_only=True, tag="test-event.moved"):
    """Something has moved."""

    to_where: int


class Stopped(Event, frozen=True, kw_only=True, tag="test-event.stopped"):
    """Something has stopped."""


class Site:
    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.events = self.another()

    def another(self) -> Events:
        return Events(self.store, self.clock, lambda: 3600.0)

    async def emit(self, *events: Event) -> None:
        def fn(tx: Tx) -> None:
            for event in events:
                self.events.emit(tx, event, resource="vm", job="job", account="account")

        await self.store.write(fn)
        await self.clock.settle()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = VirtualClock()
    store = await Store.memory(Schema([EventRow, EventCursor]), clock, inline=True)
    site = Site(store, clock)
    yield site
    await site.events.stop()
    await store.close()


class Ear:
    """A subscriber that notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.bad: dict[object, int] = {}
        self.gate: asyncio.Event | None = None

    async def hear(self, row: EventRow) -> None:
        if self.gate is not None:
            await self.gate.wait()
        what = row.content.get("toWhere", row.name)
        if self.bad.get(what, 0) > 0:
            self.bad[what] -= 1
            raise RuntimeError("not now")
        self.heard.append(what)


def moves(*numbers: int) -> list[Event]:
    return [Moved(to_where=number) for number in numbers]


async def test_event_is_told_after_the_commit_with_where_it_came_from(site: Site) -> None:
    rows: list[EventRow] = []

    async def hear(row: EventRow) -> None:
        rows.append(row)

    site.events.subscribe("test", set(), hear)
    await site.events.start()
    await site.emit(Moved(to_where=1))

    (row,) = rows
    assert (row.name, row.resource_uuid, row.job_uuid, row.account_uuid) == (
        "test-event.moved",
        "vm",
        "job",
        "account",
    )
    assert row.content == {"toWhere": 1}


async def test_event_of_a_transaction_that_is_rolled_back_is_never_told(site: Site) -> None:
    ear = Ear()
    site.events.subscribe("test", set(), ear.hear)
    await site.events.start()

    def fn(tx: Tx) -> None:
        site.events.emit(tx, Moved(to_where=1))
        raise CairnError("test.no", "No.")

    with pytest.raises(CairnError):
        await site.store.write(fn)
    await site.clock.settle()

    assert ear.heard == []


async def test_subscriber_hears_its_events_in_their_order(site: Site) -> None:
    ear = Ear()
    site.events.subscribe("test", {"test-event.moved"}, ear.hear)
    await site.events.start()

    await site.emit(*moves(1, 2), Stopped(), *moves(3))
    await site.emit(*moves(4))

    assert ear.heard == [1, 2, 3, 4]


async def test_subscriber_that_fails_is_told_the_next_one(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 1}
    site.events.subscribe("test", set(), ear.hear)
    await site.events.start()

    await site.emit(*moves(1, 2))

    assert ear.heard == [2]


async def test_durable_subscriber_that_fails_is_told_again_and_disturbs_nobody(site: Site) -> None:
    durable, other = Ear(), Ear()
    durable.bad = {2: 2}
    site.events.subscribe("durable", set(), durable.hear, durable=True)
    site.events.subscribe("other", set(), other.hear)
    await site.events.start()

    await site.emit(*moves(1, 2, 3))
    assert other.heard == [1, 2, 3]
    assert durable.heard == [1]
    await site.clock.advance(2.0)

    assert durable.heard == [1, 2, 3]


async def test_slow_subscriber_holds_up_nobody_else(site: Site) -> None:
    slow, other = Ear(), Ear()
    slow.gate = asyncio.Event()
    site.events.subscribe("slow", set(), slow.hear)
    site.events.subscribe("other", set(), other.hear)
    await site.events.start()

    await site.emit(*moves(1, 2))

    assert other.heard == [1, 2]
    assert slow.heard == []


async def test_durable_subscriber_goes_on_where_it_stopped_and_others_from_now(site: Site) -> None:
    former = Ear()
    site.events.subscribe("durable", set(), former.hear, durable=True)
    await site.events.start()
    await site.emit(*moves(1))
    await site.events.stop()
    await site.emit(*moves(2))

    durable, other = Ear(), Ear()
    site.events = site.another()
    site.events.subscribe("durable", set(), durable.hear, durable=True)
    site.events.subscribe("other", set(), other.hear)
    await site.events.start()
    await site.emit(*moves(3))

    assert former.heard == [1]
    assert durable.heard == [2, 3]
    assert other.heard == [3]


async def test_durable_subscriber_that_died_before_its_first_event_misses_nothing(site: Site) -> None:
    site.events.subscribe("durable", set(), Ear().hear, durable=True)
    await site.events.start()
    await site.events.stop()
    await site.emit(*moves(1))

    ear = Ear()
    site.events = site.another()
    site.events.subscribe("durable", set(), ear.hear, durable=True)
    await site.events.start()
    await site.clock.settle()

    assert ear.heard == [1]


async def test_trouble_of_the_store_ends_no_subscription(site: Site) -> None:
    class Broken(Store):
        def __init__(self, store: Store) -> None:
            self._real = store
            self.on = False

        async def read(self, fn):  # type: ignore[no-untyped-def]
            if self.on:
                raise CairnError("store.broken", "It is broken.")
            return await self._real.read(fn)

        async def write(self, fn):  # type: ignore[no-untyped-def]
            return await self._real.write(fn)

    ear = Ear()
    real = site.store
    broken = site.store = Broken(real)
    site.events = site.another()
    site.events.subscribe("test", set(), ear.hear)
    await site.events.start()
    broken.on = True
    await site.emit(*moves(1))
    assert ear.heard == []

    broken.on = False
    await site.clock.advance(1.0)

    assert ear.heard == [1]
    site.store = real


async def next_of(site: Site, stream: AsyncIterator[EventRow | None], limit_seconds: float = 60.0) -> object:
    row = await site.clock.run(anext(stream), limit_seconds=limit_seconds)
    return None if row is None else row.content.get("toWhere", row.name)


async def test_stream_takes_up_behind_a_sequence_number_and_goes_on(site: Site) -> None:
    await site.emit(*moves(1, 2, 3))
    second = (await site.events.after(0))[1].sequence
    stream = site.events.stream(second)

    assert await next_of(site, stream) == 3
    waiting = asyncio.ensure_future(anext(stream))
    await site.clock.settle()
    await site.emit(*moves(4))

    row = await waiting
    assert isinstance(row, EventRow)
    assert row.content == {"toWhere": 4}
    assert site.clock.monotonic() == 0.0


async def test_stream_says_that_nothing_happens_every_15_seconds_also_when_others_do(site: Site) -> None:
    stream = site.events.stream(0, names=frozenset({"test-event.stopped"}))
    waiting = asyncio.ensure_future(anext(stream))
    for number in range(3):
        await site.clock.advance(5.0)
        await site.emit(*moves(number))

    assert await waiting is None
    assert site.clock.monotonic() == 15.0
    await site.emit(Stopped())
    assert await next_of(site, stream) == "test-event.stopped"


async def test_stream_that_is_left_leaves_nothing_behind(site: Site) -> None:
    stream = site.events.stream(0)
    waiting = asyncio.ensure_future(anext(stream))
    await site.clock.settle()
    assert site.clock.pending() == 1

    waiting.cancel()
    await site.clock.settle()

    assert site.clock.pending() == 0
    assert site.events._waiters == {}


async def test_stream_catches_up_over_more_events_than_one_look_takes(site: Site) -> None:
    await site.emit(*moves(*range(1100)))
    stream = site.events.stream(0)

    assert [await next_of(site, stream) for _ in range(1100)] == list(range(1100))


async def test_clean_removes_old_events_and_numbers_go_on(site: Site) -> None:
    await site.emit(*moves(1, 2))
    last = await site.store.read(site.events.last)
    await site.clock.advance(3601.0)

    await site.events.clean()

    assert await site.events.after(0) == []
    await site.emit(*moves(3))
    assert (await site.events.after(0))[0].sequence > last
