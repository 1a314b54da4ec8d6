from __future__ import annotations

import asyncio

import pytest
from tests.unit.kernel.flow.world import (
    JOB,
    RETRY_SECONDS,
    Parameters,
    World,
    engine_of,
    flow,
    refusal,
)

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.run import Run
from cairn.kernel.flow.workflow import WorkflowBook


async def owing(world: World, *, failures: int = 1) -> tuple[FlowEngine, FlowRun]:
    """A run that failed at its last step, and whose undo of a3 failed and will so often in all."""
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = failures
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()
    return engine, row


async def test_failed_undo_is_tried_again_by_the_clock_until_it_succeeds(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 3
    with pytest.raises(CairnError):
        await world.run(engine_of(world))

    await world.clock.advance(2 * RETRY_SECONDS)
    assert len(await world.rows()) == 1
    await world.clock.advance(RETRY_SECONDS)

    assert await world.rows() == []
    assert await world.effects() == set()


async def test_retry_by_hand_starts_no_second_loop(world: World) -> None:
    engine, row = await owing(world, failures=100)

    for _ in range(5):
        assert not await engine.retry(row.uuid)
    world.story.clear()
    await world.clock.advance(RETRY_SECONDS)

    assert world.story == ["undo a3"]


async def test_retry_in_a_queue_waits_for_who_holds_it(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 1
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine, queue="thing:x")
    done = asyncio.Event()
    holder = asyncio.create_task(world.queues.run("thing:x", done.wait, name="holder"))
    await world.clock.advance(RETRY_SECONDS)
    assert await world.effects() == {"a3"}

    done.set()
    await holder
    await world.clock.settle()

    assert await world.effects() == set()


async def test_retry_is_not_bound_by_the_deadline_of_the_call_that_failed(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 1
    engine = engine_of(world)
    contexts: list[CallContext] = []
    world.hooks["undo a3"] = lambda: contexts.append(current())
    with entered(CallContext(job=JOB, stack=("test.call",), deadline=10.0)):
        with pytest.raises(CairnError):
            await world.clock.run(engine.run(flow(), Parameters(thing="x"), queue="thing:x"))

    await world.clock.advance(RETRY_SECONDS)

    assert contexts[-1].deadline is not None
    assert contexts[-1].deadline > RETRY_SECONDS
    assert await world.rows() == []


async def test_retry_of_what_is_under_way_is_refused(world: World) -> None:
    engine, row = await owing(world)
    world.gates["undo a3"] = asyncio.Event()
    first = asyncio.create_task(engine.retry(row.uuid))
    gate = await world.wait_at("undo a3")

    with pytest.raises(CairnError, match=r"workflow\.still-running"):
        await engine.retry(row.uuid)

    gate.set()
    assert await first


async def test_settled_run_is_forgotten(world: World) -> None:
    engine, row = await owing(world, failures=9)

    await engine.settle(row.uuid)
    await engine.settle(row.uuid)

    assert await world.rows() == []
    assert await engine.retry(row.uuid)
    world.story.clear()
    await world.clock.advance(2 * RETRY_SECONDS)
    assert world.story == []


@pytest.mark.parametrize("mistake", [refusal("t2"), ZeroDivisionError("a mistake in the step")])
async def test_settling_undoes_what_it_can_of_the_database_whatever_a_step_raises(
    world: World, mistake: Exception
) -> None:
    def raise_it() -> None:
        raise mistake

    world.bad_late = {"a5"}
    world.bad_undo.update(("t1", "t2", "a3"))
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()
    world.hooks["undo t2"] = raise_it

    await engine.settle(row.uuid)

    assert await world.rows() == []
    assert await world.effects() == {"t2", "a3"}


async def test_run_that_cannot_be_read_is_settled_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(book: WorkflowBook, row: FlowRun) -> Run:
        raise ZeroDivisionError

    engine, row = await owing(world)
    monkeypatch.setattr("cairn.kernel.flow.owed.load", unreadable)

    await engine.settle(row.uuid)

    assert await world.rows() == []


async def test_node_that_is_declared_gone_settles_nothing(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo.update(("t1", "a3"))
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()
    world.fence()

    with pytest.raises(CairnError, match=r"node\.fenced"):
        await engine.settle(row.uuid)

    assert [there.uuid for there in await world.rows()] == [row.uuid]
