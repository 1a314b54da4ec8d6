from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cairn.kernel.bus.deadline import DeadlineWheel, Expiring, is_watched, limit, watch_expired
from cairn.kernel.error import CairnError
from cairn.testing.clock import VirtualClock


class Probe(Expiring):
    def __init__(self, at: float, clock: VirtualClock) -> None:
        super().__init__(at)
        self.clock = clock
        self.expired_at: list[float] = []

    def expire(self) -> None:
        self.expired_at.append(self.clock.monotonic())


async def test_entry_expires_once_at_its_exact_instant(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    probe = Probe(2.75, clock)
    wheel.add(probe)
    await clock.advance(100)
    assert probe.expired_at == [2.75]


async def test_entry_taken_off_never_expires(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    early, late = Probe(2.5, clock), Probe(2.6, clock)
    wheel.add(early)
    wheel.add(late)
    await clock.advance(2.1)
    wheel.discard(early)
    wheel.discard(early)
    await clock.advance(100)
    assert (early.expired_at, late.expired_at) == ([], [2.6])


async def test_entry_in_the_past_expires_on_the_next_turn(clock: VirtualClock) -> None:
    await clock.advance(10)
    wheel = DeadlineWheel(clock)
    probe = Probe(3.0, clock)
    wheel.add(probe)
    await clock.advance(0)
    assert probe.expired_at == [10.0]


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0.01, 6)), max_size=8))
async def test_entry_may_be_put_on_again_and_expires_at_the_last_instant_given(
    moves: list[tuple[float, float]],
) -> None:
    clock = VirtualClock()
    wheel = DeadlineWheel(clock)
    probe = Probe(1.0, clock)
    wheel.add(probe)
    due, expected = 1.0, []
    for pause, later in moves:
        before = clock.monotonic() + pause
        if due <= before:
            expected.append(due)
        await clock.advance(pause)
        wheel.discard(probe)
        due = probe.at = clock.monotonic() + later
        wheel.add(probe)
    await clock.advance(100)
    assert probe.expired_at == pytest.approx([*expected, due], abs=0.001)


async def test_entry_that_raises_is_logged_and_the_others_expire(clock: VirtualClock) -> None:
    class Faulty(Expiring):
        def expire(self) -> None:
            raise KeyError("surprise")

    wheel = DeadlineWheel(clock)
    probes = [Probe(2.5, clock), Probe(7.0, clock)]
    for entry in (Faulty(2.5), *probes):
        wheel.add(entry)
    with capture_logs() as logged:
        await clock.advance(10)
    assert [probe.expired_at for probe in probes] == [[2.5], [7.0]]
    assert [(line["event"], line["entry"]) for line in logged] == [("deadline.failed", "Faulty")]


async def test_stopped_wheel_expires_nothing_and_keeps_no_timer(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    probe = Probe(3.0, clock)
    wheel.add(probe)
    wheel.stop()
    await clock.advance(10)
    assert probe.expired_at == []
    assert clock.pending() == 0


async def test_empty_wheel_asks_for_no_timer(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    for at in (1.5, 3.5, 60.5):
        probe = Probe(at, clock)
        wheel.add(probe)
        wheel.discard(probe)
    await clock.advance(1.6)
    assert clock.pending() == 0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5, allow_nan=False),  # when it is added
            st.floats(0, 5, allow_nan=False),  # how long it has
            st.none() | st.floats(0, 5, allow_nan=False),  # after how long it is taken off
        ),
        max_size=30,
    )
)
def test_whatever_is_added_expires_at_its_instant_unless_taken_off_before(
    plan: list[tuple[float, float, float | None]],
) -> None:
    async def run() -> None:
        clock = VirtualClock()
        wheel = DeadlineWheel(clock)
        probes: list[tuple[Probe, float | None]] = []

        def add(start: float, seconds: float, off: float | None) -> None:
            probe = Probe(start + seconds, clock)
            wheel.add(probe)
            probes.append((probe, off))
            if off is not None:
                clock.call_later(off, lambda: wheel.discard(probe))

        for start, seconds, off in plan:
            clock.call_later(start, lambda start=start, seconds=seconds, off=off: add(start, seconds, off))  # type: ignore[misc]
        await clock.advance(20)
        for (probe, off), (start, seconds, _) in zip(probes, sorted(plan, key=lambda one: one[0]), strict=True):
            assert len(probe.expired_at) <= 1
            if off is None or off > seconds + 0.001:
                assert probe.expired_at == [pytest.approx(start + seconds, abs=0.001)]
            elif off < seconds - 0.001:
                assert probe.expired_at == []

    asyncio.run(run())


async def test_limit_cancels_the_work_and_says_what_it_was(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    ended: list[float] = []

    async def work() -> None:
        try:
            await clock.sleep(60)
        finally:
            ended.append(clock.monotonic())

    with pytest.raises(CairnError, match=r"vm.create was not done before its deadline") as caught:
        await clock.run(limit(wheel, 5.0, "vm.create", work()))
    assert caught.value.code == "bus.deadline-passed"
    assert ended == [5.0]


async def test_limit_gives_the_answer_when_there_is_one(clock: VirtualClock) -> None:
    async def work() -> str:
        await clock.sleep(4)
        return "done"

    assert await clock.run(limit(DeadlineWheel(clock), 5.0, "work", work())) == "done"


async def test_limit_returns_what_was_done_in_spite_of_the_cancellation(clock: VirtualClock) -> None:
    async def work() -> str:
        try:
            await clock.sleep(60)
        except asyncio.CancelledError:
            return "done just so"
        return "never"

    async def caller() -> tuple[str, int]:
        answer = await limit(DeadlineWheel(clock), 5.0, "work", work())
        task = asyncio.current_task()
        assert task is not None
        return answer, task.cancelling()

    assert await clock.run(caller()) == ("done just so", 0)


async def test_cancellation_from_outside_stays_a_cancellation(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    task = asyncio.create_task(limit(wheel, 5.0, "work", clock.sleep(60)))
    await clock.advance(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.advance(100)


async def test_inner_limit_that_passes_leaves_the_outer_one_in_force(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)

    async def outer() -> None:
        with pytest.raises(CairnError, match="inner"):
            await limit(wheel, 2.0, "inner", clock.sleep(60))
        assert is_watched(5.0)
        await clock.sleep(60)

    with pytest.raises(CairnError, match="outer"):
        await clock.run(limit(wheel, 5.0, "outer", outer()))
    assert clock.monotonic() == 5.0


async def test_task_is_watched_only_for_its_own_limits(clock: VirtualClock) -> None:
    wheel = DeadlineWheel(clock)
    seen: list[bool] = []

    async def look() -> None:
        seen.append(is_watched(5.0))
        seen.append(is_watched(4.0))
        seen.append(watch_expired())

    async def work() -> None:
        await look()
        await asyncio.create_task(look())

    await limit(wheel, 5.0, "work", work())
    assert seen == [True, False, False, False, False, False]
    assert not is_watched(5.0)
