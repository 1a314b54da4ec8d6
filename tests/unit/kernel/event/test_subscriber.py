from __future__ import annotations

import asyncio

from tests.unit.kernel.event.site import Ear, Site, moves

from cairn.kernel.event import EventCursor, EventRow
from cairn.kernel.event.subscriber import CALL_SECONDS
from cairn.kernel.store.store import Tx


async def test_subscriber_that_fails_is_told_the_next_one(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 1}
    site.events.subscribe("test", set(), ear.hear)
    await site.events.start()

    await site.emit(*moves(1, 2))

    assert ear.heard == [2]


async def test_subscriber_that_hangs_is_told_the_next_one_in_the_end(site: Site) -> None:
    ear = Ear()
    ear.gates[1] = asyncio.Event()
    site.events.subscribe("test", set(), ear.hear)
    await site.events.start()
    await site.emit(*moves(1, 2))
    await site.clock.advance(CALL_SECONDS - 1.0)
    assert ear.heard == []

    await site.clock.advance(1.0)

    assert ear.heard == [2]


async def test_subscriber_whose_own_work_was_cancelled_has_failed_and_no_more(site: Site) -> None:
    heard: list[int] = []

    async def hear(row: EventRow) -> None:
        heard.append(row.sequence)
        if row.sequence == 1 and len(heard) < 3:
            raise asyncio.CancelledError

    site.events.subscribe("plain", set(), hear)
    await site.events.start()
    await site.emit(*moves(1, 2))
    assert heard == [1, 2]

    heard.clear()
    await site.restart()
    await site.store.write(lambda tx: tx.insert(EventCursor(name="durable", sequence=0)))
    site.events.subscribe("durable", set(), hear, durable=True)
    await site.events.start()
    await site.clock.advance(10.0)

    assert heard == [1, 1, 1, 2]


async def test_trouble_of_the_store_ends_no_subscription(site: Site) -> None:
    ears = {durable: Ear() for durable in (True, False)}
    for durable, ear in ears.items():
        site.events.subscribe(f"test-{durable}", set(), ear.hear, durable=durable)
    await site.events.start()
    await site.emit(*moves(1))

    def fail_once_committed() -> None:
        site.store.broken = True

    def fn(tx: Tx) -> None:
        site.events.emit(tx, *moves(2))
        tx.after_commit(fail_once_committed)

    await site.store.write(fn)
    await site.clock.advance(3600.0)
    assert [ear.heard for ear in ears.values()] == [[1], [1]]

    site.store.broken = False
    await site.clock.advance(60.0)

    assert [ear.heard for ear in ears.values()] == [[1, 2], [1, 2]]
