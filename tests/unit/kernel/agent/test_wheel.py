"""The shared timer of deadlines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.agent.wheel import DeadlineWheel
from cairn.testing.clock import VirtualClock


class Item:
    def __init__(self, clock: VirtualClock) -> None:
        self.tick = 0
        self.clock = clock
        self.expired: list[float] = []

    def expire(self) -> None:
        self.expired.append(self.clock.monotonic())


async def test_deadline_comes_once_and_at_most_a_tick_late() -> None:
    clock = VirtualClock()
    wheel = DeadlineWheel(clock, tick_seconds=0.1)
    item = Item(clock)
    wheel.add(item, 1.0)
    await clock.advance(0.99)
    assert not item.expired
    await clock.advance(10)
    assert len(item.expired) == 1
    assert 1.0 <= item.expired[0] <= 1.2
    assert len(wheel) == 0
    assert clock.pending() == 0


async def test_discarded_item_never_expires_and_may_be_discarded_again() -> None:
    clock = VirtualClock()
    wheel = DeadlineWheel(clock)
    item = Item(clock)
    wheel.add(item, 0.5)
    wheel.discard(item)
    wheel.discard(item)
    await clock.advance(5)
    assert not item.expired
    assert clock.pending() == 0


async def test_wheel_begins_again_after_it_was_empty() -> None:
    clock = VirtualClock()
    wheel = DeadlineWheel(clock)
    for _ in range(3):
        item = Item(clock)
        began = clock.monotonic()
        wheel.add(item, 1)
        await clock.advance(100)
        assert 1 <= item.expired[0] - began <= 1.2


async def test_deadline_in_the_past_comes_at_the_next_tick() -> None:
    clock = VirtualClock()
    item = Item(clock)
    DeadlineWheel(clock, tick_seconds=0.1).add(item, -5)
    await clock.advance(0.11)
    assert len(item.expired) == 1


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5), st.booleans()), max_size=20))
async def test_all_that_stays_expires_in_time(entries: list[tuple[float, float, bool]]) -> None:
    clock = VirtualClock()
    wheel = DeadlineWheel(clock, tick_seconds=0.25)
    due: list[tuple[Item, float]] = []
    for seconds, pause, keep in entries:
        item = Item(clock)
        wheel.add(item, seconds)
        if keep:
            due.append((item, clock.monotonic() + seconds))
        else:
            wheel.discard(item)
        await clock.advance(pause)
    await clock.advance(60)
    for item, when in due:
        assert len(item.expired) == 1
        assert when <= item.expired[0] <= when + 0.5 + 1e-6
    assert len(wheel) == 0
