from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kernel.event.site import CountingStore, Ear, Site, moves

from cairn.kernel.event import DeliveryState, EventCursor, EventDelivery, EventRow
from cairn.kernel.event.delivery import PATIENCE_SECONDS
from cairn.kernel.event.subscriber import CALL_SECONDS
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock

OWED, SET_ASIDE = DeliveryState.OWED, DeliveryState.SET_ASIDE


async def listening(site: Site, ear: Ear, *names: str) -> None:
    site.events.subscribe("watch", set(names), ear.hear, durable=True)
    await site.events.start()


async def test_events_of_other_resources_go_on_while_one_is_told_again(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 3}
    await listening(site, ear)

    await site.emit(*moves(1, 2), resource="a")
    await site.emit(*moves(3), resource="b")
    await site.emit(*moves(4), resource=None)
    await site.emit(*moves(5), resource="a")
    assert ear.heard == [3, 4]
    await site.clock.advance(1.0 + 2.0 + 4.0)

    assert ear.heard == [3, 4, 1, 2, 5]
    assert await site.deliveries(OWED) == []


async def test_each_try_comes_later_than_the_one_before(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 100}
    await listening(site, ear)
    await site.emit(*moves(1))

    tries = []
    for _ in range(16):
        tries.append(ear.tries)
        await site.clock.advance(1.0)

    assert tries == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5]


async def test_news_of_the_resource_brings_the_next_try_near(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 5}
    await listening(site, ear)
    await site.emit(*moves(1))
    await site.clock.advance(20.0)  # tried at 0, 1, 3, 7 and 15 s
    assert ear.heard == []

    await site.emit(*moves(2))
    await site.clock.settle()

    assert ear.heard == [1, 2]


async def test_what_is_owed_is_written_down_with_its_tries_and_the_reason(site: Site) -> None:
    ear = Ear()
    ear.bad = {1: 3}
    await listening(site, ear)
    await site.emit(*moves(1, 2))
    await site.clock.advance(1.0)

    (row,) = await site.deliveries(OWED)
    assert (row.subscriber, row.sequence, row.name, row.resource_uuid) == ("watch", 1, "test-event.moved", "vm")
    assert (row.tries, row.error) == (2, "RuntimeError: not now")
    assert row.last_op_date > row.create_date
    assert site.shown("watch", OWED) == "1.0"
    await site.clock.advance(60.0)
    assert (ear.heard, site.shown("watch", OWED)) == ([1, 2], "0.0")


async def test_event_that_no_try_helps_is_set_aside_and_the_next_goes_on(site: Site) -> None:
    site.settings["delivery.maxTries"] = 3
    ear = Ear()
    ear.bad = {1: 3}
    await listening(site, ear, "test-event.moved")
    await site.emit(*moves(1, 2))
    await site.clock.advance(3.0)

    assert ear.heard == [2]
    (row,) = await site.deliveries(SET_ASIDE)
    assert (row.tries, row.error, row.event) == (3, "RuntimeError: not now", (await site.rows())[0])
    assert await site.deliveries(OWED) == []
    assert site.shown("watch", SET_ASIDE) == "1.0"
    told = (await site.rows())[-1]
    assert (told.name, told.resource_uuid, told.account_uuid) == ("event.set-aside", "vm", None)
    assert told.content == {
        "delivery": row.uuid,
        "subscriber": "watch",
        "name": "test-event.moved",
        "sequence": 1,
        "tries": 3,
        "error": "RuntimeError: not now",
    }


async def test_subscriber_that_fails_at_everything_makes_no_chain_of_events(site: Site) -> None:
    site.settings["delivery.maxTries"] = 1
    ear = Ear()
    ear.bad = {1: 1, "event.set-aside": 100}
    await listening(site, ear)

    await site.emit(*moves(1))
    await site.clock.advance(3600.0)

    assert [row.name for row in await site.deliveries(SET_ASIDE)] == ["test-event.moved", "event.set-aside"]
    assert len(await site.rows()) == 2


async def test_what_was_set_aside_is_counted_again_after_a_restart(site: Site) -> None:
    site.settings["delivery.maxTries"] = 1
    ear = Ear()
    ear.bad = {1: 1}
    await listening(site, ear, "test-event.moved")
    await site.emit(*moves(1))
    await site.restart()
    await listening(site, ear, "test-event.moved")
    await site.clock.settle()

    assert (ear.heard, site.shown("watch", SET_ASIDE)) == ([], "1.0")


async def test_tries_go_on_after_a_restart_where_they_were(site: Site) -> None:
    site.settings["delivery.maxTries"] = 4
    ear = Ear()
    ear.bad = {1: 100}
    await listening(site, ear)
    await site.emit(*moves(1))
    await site.clock.advance(1.0)
    await site.restart()
    await listening(site, ear)
    await site.clock.advance(3.0)

    (row,) = await site.deliveries(OWED)
    assert row.tries == 3
    assert ear.tries == 3


async def test_subscriber_that_hangs_at_one_resource_holds_up_no_other(site: Site) -> None:
    ear = Ear()
    gate = ear.gates[1] = asyncio.Event()
    await listening(site, ear)
    await site.emit(*moves(1), resource="a")
    await site.emit(*moves(2), resource="b")
    await site.emit(*moves(3), resource="a")
    assert ear.heard == []  # it is given a moment
    await site.clock.advance(PATIENCE_SECONDS)

    assert ear.heard == [2]
    (row,) = await site.deliveries(OWED)
    assert (row.sequence, row.tries, row.error) == (1, 0, None)
    gate.set()
    await site.clock.settle()
    assert ear.heard == [2, 1, 3]
    assert await site.deliveries(OWED) == []


async def test_call_that_takes_too_long_is_ended_and_tried_again(site: Site) -> None:
    ear = Ear()
    ear.gates[1] = asyncio.Event()
    await listening(site, ear)
    await site.emit(*moves(1))
    await site.clock.advance(CALL_SECONDS)

    (row,) = await site.deliveries(OWED)
    assert row.error is not None
    assert "bus.deadline-passed" in row.error
    ear.gates[1].set()
    await site.clock.advance(1.0)
    assert ear.heard == [1]


async def test_so_many_resources_at_a_time_and_the_others_wait(site: Site) -> None:
    site.settings.update({"delivery.maxResources": 2, "delivery.maxTries": 3})
    ear = Ear()
    ear.bad = {1: 100, 2: 100}
    await listening(site, ear, "test-event.moved")
    for number in range(1, 4):
        await site.emit(*moves(number), resource=f"r{number}")
    assert ear.heard == []
    assert site.shown("watch", OWED) == "2.0"

    await site.clock.advance(3.0)  # both are set aside

    assert ear.heard == [3]


async def test_event_that_is_taken_at_once_costs_one_read_and_one_write(site: Site) -> None:
    ear = Ear()
    await listening(site, ear)
    await site.clock.settle()
    site.store.reads = site.store.writes = 0

    await site.emit(*moves(1, 2, 3))

    assert ear.heard == [1, 2, 3]
    assert (site.store.reads, site.store.writes) == (1, 2)  # the writes: its emission, the cursor


async def test_events_that_do_not_concern_a_subscriber_cost_nothing(site: Site) -> None:
    await listening(site, Ear(), "test-event.stopped")
    await site.clock.settle()
    site.store.reads = site.store.writes = 0

    await site.emit(*moves(1, 2, 3))

    assert (site.store.reads, site.store.writes) == (0, 1)


async def test_node_that_dies_between_the_telling_and_the_writing_tells_again(site: Site) -> None:
    ear = Ear()
    ear.gates[1] = asyncio.Event()
    await listening(site, ear)
    await site.emit(*moves(1))
    site.store.broken = True
    ear.gates[1].set()
    await site.clock.settle()
    assert ear.heard == [1]

    await site.restart()
    site.store.broken = False
    await listening(site, ear)
    await site.clock.settle()

    assert ear.heard == [1, 1]
    cursor = await site.cursor("watch")
    assert cursor is not None
    assert cursor.sequence == 1


async def test_what_is_owed_is_written_down_although_the_first_writing_failed(site: Site) -> None:
    ear = Ear()
    ear.gates[1] = asyncio.Event()
    await listening(site, ear)
    await site.emit(*moves(1))
    site.store.broken = True
    await site.clock.advance(PATIENCE_SECONDS)
    site.store.broken = False
    await site.clock.advance(2.0)

    assert [row.sequence for row in await site.deliveries(OWED)] == [1]


# -- whatever happens -------------------------------------------------------------------------------------------------

Action = tuple[str, int, float]
#: ("fails", a resource, how often), ("slow", a resource, seconds), ("pass", 0, seconds), ("restart", 0, 0),
#: ("break", 0, seconds of trouble of the store)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("fails"), st.integers(0, 2), st.sampled_from([0.0, 0.0, 1.0, 3.0])),
        st.tuples(st.just("slow"), st.integers(0, 2), st.sampled_from([0.5, 1.5, 4.0])),
        st.tuples(st.just("pass"), st.just(0), st.sampled_from([0.2, 0.5, 1.0, 3.0])),
        st.tuples(st.just("restart"), st.just(0), st.just(0.0)),
        st.tuples(st.just("break"), st.just(0), st.sampled_from([0.5, 3.0])),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(actions, st.integers(1, 3), st.sampled_from([0.0, 0.0, 0.3]))
def test_each_event_is_heard_in_the_order_of_its_resource(plan: list[Action], lanes: int, delay: float) -> None:
    asyncio.run(_run(plan, lanes, delay))


async def _run(plan: list[Action], lanes: int, delay: float) -> None:
    clock = VirtualClock()
    store = await Store.memory(Schema([EventRow, EventCursor, EventDelivery]), clock, inline=True)
    site, ear = Site(CountingStore(store, clock), clock), Ear(clock)
    site.settings.update({"delivery.maxResources": lanes, "delivery.maxTries": 100})
    emitted: dict[str, list[object]] = defaultdict(list)
    await listening(site, ear)
    site.store.delay_seconds = delay
    for number, (what, resource, much) in enumerate(plan):
        if what in ("fails", "slow"):
            ear.bad[number], ear.slow[number] = (int(much), 0.0) if what == "fails" else (0, much)
            emitted[f"r{resource}"].append(number)
            await site.emit(*moves(number), resource=f"r{resource}")
        elif what == "restart":
            await site.restart()
            await clock.run(listening(site, ear))
        else:
            site.store.broken = what == "break"
            await clock.advance(much)
            site.store.broken = False
    await clock.advance(7200.0)
    for numbers in emitted.values():
        assert list(dict.fromkeys(what for what in ear.heard if what in numbers)) == numbers
    assert await site.deliveries(OWED) == []
    await site.events.stop()
    await store.close()
