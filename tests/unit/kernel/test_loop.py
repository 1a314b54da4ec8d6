from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cairn.kernel.bus.context import NOWHERE, CallContext, current, entered
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId
from cairn.kernel.loop import LEAST_SECONDS, MOST_SECONDS, Loop, Loops
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock


class World:
    """Loops on a clock of the test's own, and work that notes when it is done."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.metrics = Metrics()
        self.loops = Loops(self.clock, self.metrics)
        self.done: list[float] = []
        self.errors: list[BaseException] = []  #: raised by the next rounds, one each

    async def work(self) -> None:
        self.done.append(self.clock.monotonic())
        if self.errors:
            raise self.errors.pop(0)


class Unreadable:
    def __float__(self) -> float:
        raise KeyError("no such setting")


def trouble() -> CairnError:
    return CairnError("store.full", "no room", kind=ErrorKind.EXHAUSTED)


async def test_work_is_done_every_interval_from_the_start_to_the_stop() -> None:
    world = World()
    world.loops.every("sweep", lambda: 10.0, world.work)
    await world.clock.advance(20)
    world.loops.start()
    await world.clock.advance(30)
    await world.loops.stop()
    await world.loops.stop()
    await world.clock.advance(30)
    assert world.done == [30, 40, 50]
    assert world.clock.pending() == 0


async def test_first_round_may_be_made_at_once_and_a_late_loop_begins_by_itself() -> None:
    world = World()
    world.loops.start()
    world.loops.every("sweep", lambda: 10.0, world.work, at_once=True)
    await world.clock.advance(10)
    assert world.done == [0, 10]
    await world.loops.stop()


async def test_whatever_work_raises_it_is_tried_again_with_growing_pauses_up_to_a_minute() -> None:
    world = World()
    world.errors = [trouble(), KeyError("x"), RecursionError(), asyncio.CancelledError(), *[trouble()] * 6]
    world.loops.every("sweep", lambda: 3600.0, world.work, at_once=True)
    with capture_logs() as logged:
        world.loops.start()
        await world.clock.advance(4000)
    assert world.done == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 3903]
    assert world.metrics.loop_failures.value("sweep") == 10
    assert [line["event"] for line in logged] == ["loop.failed"] * 10
    assert ["exc_info" in line for line in logged[:4]] == [False, True, True, True]
    await world.loops.stop()


async def test_waking_makes_one_round_now_but_does_not_shorten_a_pause_after_a_failure() -> None:
    world = World()
    loop = world.loops.every("sweep", lambda: 3600.0, world.work)
    world.loops.start()
    await world.clock.advance(5)
    loop.wake()
    loop.wake()
    await world.clock.advance(5)
    world.errors = [trouble()] * 3
    loop.wake()
    for _ in range(60):
        await world.clock.advance(0.25)
        loop.wake()
    assert world.done[:5] == [5, 10, 11, 13, 17]
    await world.loops.stop()


async def test_loop_that_is_stopped_while_it_works_ends_with_its_clean_up() -> None:
    world = World()
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    world.loops.every("sweep", lambda: 1.0, work, at_once=True)
    world.loops.start()
    await world.clock.settle()
    await world.loops.stop()
    assert cleaned == [True]
    assert world.metrics.loop_failures.value("sweep") == 0


async def test_work_is_part_of_no_call_and_holds_up_no_other_loop() -> None:
    world = World()
    seen: list[CallContext] = []

    async def hang() -> None:
        seen.append(current())
        await asyncio.Event().wait()

    with entered(CallContext(stack=("caller",))):
        world.loops.every("hanging", lambda: 1.0, hang)
        world.loops.every("sweep", lambda: 1.0, world.work)
        world.loops.start()
    await world.clock.advance(3)
    assert seen == [NOWHERE]
    assert world.done == [1, 2, 3]
    await world.loops.stop()


@pytest.mark.parametrize(
    ("seconds", "pause"),
    [
        (lambda: nan, 60.0),
        (lambda: inf, 60.0),
        (lambda: 0.0, 60.0),
        (lambda: -5.0, 60.0),
        (lambda: Unreadable(), 60.0),
        (lambda: 10**400, 60.0),
        (lambda: 1e300, MOST_SECONDS),
        (lambda: 1e-300, LEAST_SECONDS),
    ],
)
async def test_interval_that_is_none_neither_ends_a_loop_nor_makes_it_spin(
    seconds: Callable[[], float], pause: float
) -> None:
    world = World()
    world.loops.every("sweep", seconds, world.work)
    with capture_logs() as logged:
        world.loops.start()
        await world.clock.advance(2.5 * pause)
    assert world.done == pytest.approx([pause, 2 * pause])
    assert [line["event"] for line in logged] == (["loop.no-interval"] if pause == 60.0 else [])
    await world.loops.stop()


@given(
    outcomes=st.lists(st.sampled_from(["ok", "trouble", "bug", "cancelled"]), max_size=30),
    seconds=st.floats(allow_nan=True, allow_infinity=True),
)
async def test_no_outcome_and_no_interval_ends_a_loop_or_makes_it_spin(outcomes: list[str], seconds: float) -> None:
    world = World()
    left = list(outcomes)

    async def work() -> None:
        world.done.append(world.clock.monotonic())
        match left.pop(0) if left else "ok":
            case "trouble":
                raise trouble()
            case "bug":
                raise ZeroDivisionError
            case "cancelled":
                raise asyncio.CancelledError

    world.loops.every("sweep", lambda: seconds, work)
    world.loops.start()
    await world.clock.advance((len(outcomes) + 2) * MOST_SECONDS if seconds > 1000 else (len(outcomes) + 2) * 1000)
    await world.loops.stop()
    assert len(world.done) > len(outcomes)
    assert all(
        after - before >= LEAST_SECONDS - 1e-6 for before, after in zip(world.done, world.done[1:], strict=False)
    )


async def test_loop_is_behind_when_its_work_fails_or_hangs_for_several_intervals() -> None:
    world = World()
    world.loops.every("sweep", lambda: 10.0, world.work)
    world.errors = [trouble()] * 9
    assert world.loops.behind() == []
    world.loops.start()
    await world.clock.advance(90)
    assert world.loops.behind() == []
    await world.clock.advance(1)
    assert [(loop.name, loop.failures > 0) for loop in world.loops.behind()] == [("sweep", True)]
    age = [line for line in world.metrics.render().decode().splitlines() if line.startswith("cairn_loop_last_success")]
    assert age == ['cairn_loop_last_success_seconds{loop="sweep"} 91.0']
    await world.clock.advance(400)
    assert world.loops.behind() == []
    await world.loops.stop()


async def test_two_loops_of_one_name_are_refused() -> None:
    world = World()
    world.loops.every("sweep", lambda: 1.0, world.work)
    with pytest.raises(TypeError, match="two loops with the name 'sweep'"):
        world.loops.every("sweep", lambda: 1.0, world.work)


class Cloud:
    """Two nodes with the same loop, that is for one of them, and what each was told to pass on."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.clock = VirtualClock()
        self.rings = {NodeId(name): Ring() for name in "ab"}
        self.done: list[NodeId] = []
        self.passed_on: list[tuple[NodeId, str]] = []
        self.loops: dict[NodeId, Loops] = {}
        self.loop: dict[NodeId, Loop] = {}
        for node, ring in self.rings.items():
            loops = self.loops[node] = Loops(self.clock, Metrics(), Duties(node, ring), partial(self._pass_on, node))
            work = partial(self._work, node)
            self.loop[node] = loops.every("sweep", lambda: 10.0, work, at_once=at_once, once_per_cloud=True)
            loops.start()
        self.members("a", "b", epoch=1)
        self.owner = self.rings[NodeId("a")].node_of("loop:sweep")
        self.other = next(node for node in self.rings if node != self.owner)

    def members(self, *names: str, epoch: int) -> None:
        for ring in self.rings.values():
            ring.set_members([NodeId(name) for name in names], epoch)

    async def stop(self) -> None:
        for loops in self.loops.values():
            await loops.stop()

    async def _work(self, node: NodeId) -> None:
        self.done.append(node)

    def _pass_on(self, node: NodeId, name: str) -> None:
        self.passed_on.append((node, name))


async def test_a_loop_for_the_whole_cloud_runs_on_one_node_and_none_is_behind() -> None:
    cloud = Cloud()
    await cloud.clock.advance(300)
    assert set(cloud.done) == {cloud.owner}
    assert len(cloud.done) == 30
    assert [loops.behind() for loops in cloud.loops.values()] == [[], []]
    await cloud.stop()


async def test_a_loop_that_is_woken_on_another_node_is_woken_where_it_runs() -> None:
    cloud = Cloud()
    cloud.loop[cloud.other].wake()
    await cloud.clock.advance(1)
    assert (cloud.done, cloud.passed_on) == ([], [(cloud.other, "sweep")])
    cloud.loops[cloud.owner].wake(["sweep", "unknown"])
    await cloud.clock.advance(1)
    assert cloud.done == [cloud.owner]
    assert cloud.passed_on == [(cloud.other, "sweep")]  # no further
    await cloud.stop()


async def test_a_node_that_takes_a_loop_over_begins_at_once_if_the_loop_does() -> None:
    cloud = Cloud(at_once=True)
    await cloud.clock.advance(1)
    assert cloud.done == [cloud.owner]
    cloud.members(cloud.other, epoch=2)
    await cloud.clock.advance(1)
    assert cloud.done == [cloud.owner, cloud.other]
    await cloud.stop()
