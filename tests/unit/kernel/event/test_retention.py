from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.kernel.event.site import RETENTION_SECONDS, Ear, Site, Stopped, moves

from cairn.kernel import limits
from cairn.kernel.event import DeliveryState, EventCursor, EventDelivery, EventRow
from cairn.kernel.event.retention import BITE

DAY = 86_400.0


async def put(site: Site, count: int, age_seconds: float, name: str = "test-event.moved") -> None:
    when = site.clock.now() - timedelta(seconds=age_seconds)
    rows = [EventRow(name=name, content={"toWhere": n}, create_date=when) for n in range(count)]
    await site.store.write(lambda tx: tx.insert_many(rows))


async def test_old_events_go_the_newest_stays_however_old_and_numbers_go_on(site: Site) -> None:
    await site.emit(*moves(1, 2))
    await site.clock.advance(RETENTION_SECONDS + 1.0)
    await site.emit(*moves(3))

    await site.events.clean()

    assert [row.content["toWhere"] for row in await site.rows()] == [3]
    await site.clock.advance(RETENTION_SECONDS + 1.0)
    await site.events.clean()
    await site.emit(*moves(4))
    assert [row.sequence for row in await site.rows()] == [3, 4]


async def test_old_events_go_in_small_bites_each_a_transaction(site: Site) -> None:
    await put(site, 3 * BITE + 1, 2 * RETENTION_SECONDS)
    await put(site, 1, 0.0)
    sizes: list[int] = []
    write = site.store.write

    async def watched(fn, *, own=None):  # type: ignore[no-untyped-def]
        before = len(await site.rows())
        answer = await write(fn, own=own)
        sizes.append(before - len(await site.rows()))
        return answer

    site.store.write = watched  # type: ignore[method-assign]
    await site.events.clean()

    assert [size for size in sizes if size] == [BITE, BITE, BITE, 1]
    assert len(await site.rows()) == 1


async def test_what_a_durable_subscriber_has_not_heard_stays(site: Site) -> None:
    ear = Ear()
    site.events.subscribe("watch", {"test-event.moved"}, ear.hear, durable=True)
    await site.events.start()
    await site.events.stop()  # the node is down, or the subscriber hangs
    await site.emit(Stopped(), *moves(1), Stopped(), Stopped())
    await site.clock.advance(RETENTION_SECONDS + 1.0)

    await site.events.clean()
    assert [row.sequence for row in await site.rows()] == [2, 3, 4]
    await site.events.start()
    await site.clock.settle()
    await site.events.clean()

    assert (ear.heard, [row.sequence for row in await site.rows()]) == ([1], [4])


async def test_what_is_owed_and_what_waits_behind_it_stay(site: Site) -> None:
    site.settings["delivery.maxTries"] = 100
    ear = Ear()
    ear.bad = {1: 100}
    site.events.subscribe("watch", {"test-event.moved"}, ear.hear, durable=True)
    await site.events.start()
    await site.emit(*moves(0))
    await site.emit(*moves(1, 2), Stopped())
    await site.clock.advance(RETENTION_SECONDS + 1.0)

    await site.events.clean()
    assert [row.sequence for row in await site.rows()] == [2, 3, 4]
    ear.bad = {}
    await site.clock.advance(300.0)
    await site.events.clean()

    assert (ear.heard, [row.sequence for row in await site.rows()]) == ([0, 1, 2], [4])


async def test_subscriber_that_nobody_has_holds_events_for_a_time_and_is_forgotten(site: Site) -> None:
    site.events.subscribe("gone", {"test-event.moved"}, Ear().hear, durable=True)
    await site.events.start()
    await site.restart()
    await site.events.start()
    await site.emit(*moves(1), Stopped())
    days = limits.EVENT_SUBSCRIBER_RETENTION.default / DAY

    await site.clock.advance((days - 1) * DAY)
    await site.events.clean()
    assert len(await site.rows()) == 2
    await site.clock.advance(2 * DAY)
    await site.events.clean()

    assert ([row.sequence for row in await site.rows()], await site.cursor("gone")) == ([2], None)


async def test_cursor_of_an_earlier_version_has_its_time_from_now_on(site: Site) -> None:
    await site.store.write(lambda tx: tx.insert(EventCursor(name="old", sequence=0)))
    await site.emit(*moves(1), Stopped())
    await site.clock.advance(365 * DAY)
    await site.events.clean()
    assert len(await site.rows()) == 2

    await site.clock.advance(limits.EVENT_SUBSCRIBER_RETENTION.default + 1.0)
    await site.events.clean()

    assert [row.sequence for row in await site.rows()] == [2]


@pytest.mark.parametrize("state", list(DeliveryState))
async def test_events_set_aside_go_when_they_are_old(site: Site, state: DeliveryState) -> None:
    now = site.clock.now()
    row = EventDelivery(
        uuid="1" * 32,
        subscriber="watch",
        state=state,
        sequence=1,
        name="test-event.moved",
        content={},
        event_date=now,
        create_date=now,
        last_op_date=now,
    )
    await site.store.write(lambda tx: tx.insert(row))
    await site.events.clean()
    assert await site.deliveries(state) == [row]

    await site.clock.advance(limits.EVENT_SET_ASIDE_RETENTION.default + 1.0)
    await site.events.clean()

    assert await site.deliveries(state) == ([] if state is DeliveryState.SET_ASIDE else [row])
