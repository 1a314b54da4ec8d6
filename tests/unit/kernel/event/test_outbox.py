from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.kernel.event.site import Ear, Moved, Site, Stopped, moves

from cairn.kernel.error import CairnError
from cairn.kernel.event import DeliveryState, EventCursor, EventDelivery, EventRow
from cairn.kernel.store.store import Tx


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


@pytest.mark.parametrize("durable", [True, False])
async def test_subscriber_hears_its_events_in_their_order(site: Site, durable: bool) -> None:
    ear = Ear()
    site.events.subscribe("test", {"test-event.moved"}, ear.hear, durable=durable)
    await site.events.start()

    await site.emit(*moves(1, 2), Stopped(), *moves(3))
    await site.emit(*moves(4))

    assert ear.heard == [1, 2, 3, 4]


async def test_slow_subscriber_holds_up_nobody_else(site: Site) -> None:
    slow, other = Ear(), Ear()
    slow.gates[1] = asyncio.Event()
    site.events.subscribe("slow", set(), slow.hear)
    site.events.subscribe("other", set(), other.hear)
    await site.events.start()

    await site.emit(*moves(1, 2))

    assert other.heard == [1, 2]
    assert slow.heard == []


async def test_durable_subscriber_goes_on_where_it_stopped_and_others_from_now(site: Site) -> None:
    former, durable, other = Ear(), Ear(), Ear()
    site.events.subscribe("durable", set(), former.hear, durable=True)
    await site.events.start()
    await site.emit(*moves(1))
    await site.events.stop()
    await site.emit(*moves(2))

    await site.restart()
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
    await site.restart()
    site.events.subscribe("durable", set(), ear.hear, durable=True)
    await site.events.start()
    await site.clock.settle()

    assert ear.heard == [1]


async def test_two_durable_subscribers_of_one_name_are_refused(site: Site) -> None:
    site.events.subscribe("durable", set(), Ear().hear, durable=True)
    with pytest.raises(CairnError) as caught:
        site.events.subscribe("durable", set(), Ear().hear, durable=True)
    assert caught.value.code == "event.subscriber-twice"


# -- events that were set aside ---------------------------------------------------------------------------------------


async def set_aside(site: Site, ear: Ear) -> EventDelivery:
    """An event that `ear` has failed at once too often."""
    site.settings["delivery.maxTries"] = 1
    site.events.subscribe("durable", {"test-event.moved"}, ear.hear, durable=True)
    await site.events.start()
    await site.emit(*moves(1, 2))
    (row,) = await site.deliveries(DeliveryState.SET_ASIDE)
    return row


async def test_event_that_was_set_aside_is_told_again_on_demand(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 1}
    row = await set_aside(site, ear)
    assert ear.heard == [2]

    await site.events.tell_again(row.uuid)
    await site.events.tell_again(row.uuid)

    assert ear.heard == [2, 1]
    assert await site.deliveries(DeliveryState.SET_ASIDE) == []
    assert site.shown("durable", DeliveryState.SET_ASIDE) == "0.0"


async def test_event_that_fails_again_stays_set_aside_with_the_reason(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 2}
    row = await set_aside(site, ear)

    with pytest.raises(CairnError) as caught:
        await site.events.tell_again(row.uuid)

    assert caught.value.code == "event-delivery.failed"
    assert "RuntimeError: not now" in caught.value.message
    (after,) = await site.deliveries(DeliveryState.SET_ASIDE)
    assert (after.uuid, after.tries, after.event) == (row.uuid, 2, row.event)


async def test_event_of_a_subscriber_that_is_gone_cannot_be_told_and_can_be_forgotten(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 1}
    row = await set_aside(site, ear)
    await site.restart()
    await site.events.start()

    with pytest.raises(CairnError) as caught:
        await site.events.tell_again(row.uuid)
    await site.events.forget(row.uuid)
    await site.events.forget(row.uuid)

    assert caught.value.code == "event-delivery.no-subscriber"
    assert await site.deliveries(DeliveryState.SET_ASIDE) == []


async def test_event_that_is_still_owed_is_hurried_and_cannot_be_forgotten(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 4}
    site.events.subscribe("durable", set(), ear.hear, durable=True)
    await site.events.start()
    await site.emit(*moves(1))
    await site.clock.advance(10.0)  # tried at 0, 1, 3 and 7 s; the next try is at 15 s
    (row,) = await site.deliveries(DeliveryState.OWED)

    with pytest.raises(CairnError) as caught:
        await site.events.forget(row.uuid)
    await site.events.tell_again(row.uuid)
    await site.clock.settle()

    assert caught.value.code == "event-delivery.owed"
    assert ear.heard == [1]


async def test_a_cursor_that_another_node_makes_at_the_same_time_is_taken(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    site.events.subscribe("watch", set(), ear.hear, durable=True)
    write = site.store.write

    async def beaten(fn: Callable[[Tx], object]) -> object:
        monkeypatch.setattr(site.store, "write", write)
        await write(lambda tx: tx.insert(EventCursor(name="watch", sequence=0)))
        raise CairnError("store.duplicate", "It is there already.")

    monkeypatch.setattr(site.store, "write", beaten)
    await site.events.start()
    await site.emit(*moves(1))
    assert ear.heard == [1]
