"""The virtual clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest

from cairn.kernel.clock import Clock
from cairn.testing.clock import START, VirtualClock


def test_time_stands_still_until_it_is_moved() -> None:
    clock: Clock = VirtualClock()
    assert clock.now() == START
    assert clock.monotonic() == 0.0


async def test_advance_fires_timers_in_the_order_of_their_instants() -> None:
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []
    clock.call_later(3, lambda: seen.append(("late", clock.monotonic())))
    clock.call_later(1, lambda: seen.append(("early", clock.monotonic())))
    clock.call_later(1, lambda: seen.append(("early too", clock.monotonic())))
    clock.call_later(9, lambda: seen.append(("not yet", clock.monotonic())))
    await clock.advance(5)
    assert seen == [("early", 1), ("early too", 1), ("late", 3)]
    assert clock.monotonic() == 5
    assert clock.now() == START + timedelta(seconds=5)
    assert clock.pending() == 1


async def test_advance_lets_a_task_sleep_again_and_again() -> None:
    clock = VirtualClock()
    instants: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(1)
            for _ in range(50):
                await asyncio.sleep(0)
            instants.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await clock.advance(3.5)
    task.cancel()
    assert instants == [1, 2, 3]


async def test_a_cancelled_timer_and_a_cancelled_sleep_leave_nothing() -> None:
    clock = VirtualClock()
    timer = clock.call_later(1, lambda: pytest.fail("called"))
    timer.cancel()
    timer.cancel()
    task = asyncio.create_task(clock.sleep(2))
    await clock.advance(0)
    assert clock.pending() == 1
    task.cancel()
    await clock.advance(5)
    assert clock.pending() == 0


async def test_sleeping_for_nothing_returns_without_a_move() -> None:
    clock = VirtualClock()
    await clock.sleep(0)
    await clock.sleep(-1)
    assert clock.monotonic() == 0


async def test_run_moves_the_clock_as_far_as_the_work_needs() -> None:
    clock = VirtualClock()

    async def work() -> str:
        await clock.sleep(100)
        await clock.sleep(0.5)
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.monotonic() == 100.5


async def test_run_says_so_when_nothing_will_ever_wake_the_work() -> None:
    clock = VirtualClock()
    with pytest.raises(TimeoutError, match="stuck"):
        await clock.run(asyncio.Event().wait())
    with pytest.raises(TimeoutError, match="limit"):
        await clock.run(clock.sleep(10), limit_seconds=5)


def _slow_work() -> float:
    """Takes a thread longer than the event loop takes to find that it has nothing to do."""
    threading.Event().wait(0.05)
    return 0.05


@contextmanager
def _held_thread() -> Iterator[Callable[[], object]]:
    """Work that a thread does not end before the block does; a test that fails leaves no thread that waits for ever."""
    end = threading.Event()
    try:
        yield end.wait
    finally:
        end.set()


async def _later_than(clock: VirtualClock, work: Awaitable[float]) -> float:
    """When, on the clock, the work was done, although a timer waits."""
    clock.call_later(1, lambda: None)
    await work
    return clock.monotonic()


async def test_run_keeps_time_still_while_a_thread_works() -> None:
    clock = VirtualClock()
    assert await clock.run(_later_than(clock, asyncio.to_thread(_slow_work))) == 0


async def test_settling_waits_for_threads_and_passes_no_deadline() -> None:
    clock = VirtualClock()
    work = asyncio.create_task(asyncio.to_thread(_slow_work))
    clock.call_later(30, lambda: pytest.fail("the deadline passed"))
    await clock.settle()
    assert work.done()


async def test_work_in_an_executor_of_its_own_is_waited_for_as_well() -> None:
    clock = VirtualClock()
    with ThreadPoolExecutor(1) as executor:
        await clock.settle()
        work = asyncio.get_running_loop().run_in_executor(executor, _slow_work)
        assert await clock.run(_later_than(clock, work)) == 0


async def test_threads_one_after_the_other_and_timers_in_between_keep_their_order() -> None:
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    async def work(name: str) -> None:
        for _ in range(2):
            await asyncio.to_thread(_slow_work)
            seen.append((name, clock.monotonic()))
            await clock.sleep(1)

    await clock.run(work("a"))
    assert seen == [("a", 0), ("a", 1)]


async def test_thread_that_fails_or_that_nobody_waits_for_any_more_stops_no_clock() -> None:
    clock = VirtualClock()
    with _held_thread() as wait:
        given_up = asyncio.create_task(asyncio.to_thread(wait))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(ZeroDivisionError):
            await clock.run(asyncio.to_thread(lambda: 1 // 0))
        await clock.advance(5)
        assert clock.monotonic() == 5


async def test_thread_that_waits_for_the_clock_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    monkeypatch.setattr("cairn.testing.clock._THREAD_SECONDS", 0.01)
    with _held_thread() as wait, pytest.raises(TimeoutError, match="a thread does not end"):
        await clock.run(asyncio.to_thread(wait))
