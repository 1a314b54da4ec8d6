from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from tests.unit.kernel.flow.world import Parameters, World, engine_of, flow, new_world

from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import RunState
from cairn.kernel.store.store import Store


async def test_undo_that_hangs_is_ended_and_counts_as_failed(world: World) -> None:
    world.bad_late = {"a5"}
    world.gates["undo a3"] = asyncio.Event()

    with pytest.raises(CairnError):
        await world.run(engine_of(world))

    (row,) = await world.rows()
    assert world.clock.monotonic() == pytest.approx(300.0)
    assert "bus.deadline-passed" in row.undo_errors["a3"]


async def test_undo_that_awaits_something_cancelled_counts_as_failed(world: World) -> None:
    def break_it() -> None:
        raise asyncio.CancelledError

    world.bad_late = {"a5"}
    world.hooks["undo a3"] = break_it

    with pytest.raises(CairnError, match=r"test\.refused"):
        await world.run(engine_of(world))

    assert await world.effects() == {"a3"}
    assert [row.state for row in await world.rows()] == [RunState.UNDO_FAILED]


async def test_fenced_node_undoes_nothing_more(world: World) -> None:
    world.bad_late = {"a5"}
    world.hooks["undo a5"] = world.fence

    with pytest.raises(CairnError, match=r"node\.fenced"):
        await world.run(engine_of(world))

    assert [line for line in world.story if line.startswith("undo")] == ["undo a5"]
    assert [row.state for row in await world.rows()] == [RunState.UNDOING]


async def test_deadline_cancels_the_step_and_answers_when_all_is_undone(world: World) -> None:
    world.gates = {"a3": asyncio.Event(), "undo a3": asyncio.Event()}
    engine = engine_of(world)
    wheel = DeadlineWheel(world.clock)

    async def call() -> Parameters:
        return await limit(wheel, 10.0, "test.call", engine.run(flow(), Parameters(thing="x"), queue="thing:x"))

    caller = asyncio.create_task(call())
    await world.wait_at("a3")
    await world.clock.advance(10.0)
    gate = await world.wait_at("undo a3")
    other = asyncio.create_task(world.queues.run("thing:x", lambda: asyncio.sleep(0, "in"), name="other"))
    await world.clock.settle()
    assert not caller.done()
    assert not other.done()

    gate.set()
    with pytest.raises(CairnError, match=r"bus\.deadline-passed"):
        await caller

    assert await other == "in"
    assert await world.effects() == set()
    assert await world.rows() == []


async def test_cancelled_again_while_undoing_it_still_undoes_all(world: World) -> None:
    world.gates = {"a3": asyncio.Event(), "undo a3": asyncio.Event()}
    task = world.start(engine_of(world))
    await world.wait_at("a3")
    task.cancel()
    gate = await world.wait_at("undo a3")
    for _ in range(3):
        task.cancel()
        await world.clock.settle()
    assert not task.done()

    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await world.effects() == set()
    assert await world.rows() == []


async def test_cancelled_as_it_begins_it_leaves_nothing(world: World) -> None:
    world.gates["a3"] = asyncio.Event()
    task = world.start(engine_of(world))
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await world.effects() == set()
    assert await world.rows() == []


class SlowStore(Store):
    """A store whose writes wait at a gate, as real ones do."""

    def __init__(self, store: Store) -> None:
        self._real = store
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, fn, **options):  # type: ignore[no-untyped-def]
        await self.gate.wait()
        return await self._real.write(fn, **options)

    async def read(self, fn):  # type: ignore[no-untyped-def]
        return await self._real.read(fn)


async def test_cancelled_while_the_journal_is_written_it_begins_no_action() -> None:
    world = await new_world()
    slow = world.store = SlowStore(world.store)
    slow.gate.clear()
    task = world.start(engine_of(world, ["a1", "t2"]))
    await world.clock.settle()

    task.cancel()
    await world.clock.settle()
    slow.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert world.story == ["undo a1"]
    assert await world.rows() == []


async def test_cancelled_while_its_last_entry_is_written_it_has_succeeded() -> None:
    world = await new_world()
    slow = world.store = SlowStore(world.store)
    world.gates["a1"] = asyncio.Event()
    task = world.start(engine_of(world, ["a1"]))
    gate = await world.wait_at("a1")
    slow.gate.clear()
    gate.set()
    await world.clock.settle()

    task.cancel()
    slow.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await world.answered()
    assert await world.effects() == {"a1"}


async def test_stop_drops_runs_where_they_stand(world: World) -> None:
    world.gates["a3"] = asyncio.Event()
    engine = engine_of(world)
    task = world.start(engine)
    await world.wait_at("a3")

    await engine.stop()

    with suppress(asyncio.CancelledError):
        await task
    (row,) = await world.rows()
    assert (row.state, row.position) == (RunState.RUNNING, 2)
    assert not any(line.startswith("undo") for line in world.story)
    with pytest.raises(CairnError, match=r"workflow\.stopped"):
        await world.run(engine)
