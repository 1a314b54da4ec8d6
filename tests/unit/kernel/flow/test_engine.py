from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from tests.unit.kernel.flow.world import JOB, RETRY_SECONDS, Parameters, Watch, World, flow, new_world, refusal

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import FlowEngine, report_progress
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.flow.run import Run
from cairn.kernel.flow.workflow import WorkflowBook
from cairn.kernel.store.store import Store

PLAN = ["t1", "t2", "a3", "t4", "a5", "t6"]


@pytest.fixture
async def world() -> World:
    return await new_world()


def engine_of(world: World, steps: list[str] = PLAN, probe: Watch | None = None) -> FlowEngine:
    return world.engine({"test.flow": steps}, probe)


# -- forward ------------------------------------------------------------------------------------------------------


async def test_run_leaves_all_effects_the_answer_and_no_journal(world: World) -> None:
    answer = await world.run(engine_of(world))

    assert answer == Parameters(thing="x")
    assert await world.effects() == set(PLAN)
    assert await world.answered()
    assert await world.rows() == []
    assert world.clock.pending() == 0


async def test_neighbouring_transaction_steps_take_one_commit(world: World) -> None:
    probe = Watch()

    await world.run(engine_of(world, ["t1", "t2", "t3"], probe))

    assert probe.journals == 2  # before and after the only one


async def test_run_outside_of_a_job_concludes_none(world: World) -> None:
    await world.clock.run(engine_of(world).run(flow(), Parameters(thing="x")))

    assert not await world.answered()


async def test_only_the_job_s_own_handler_concludes_it(world: World) -> None:
    with entered(CallContext(job=JOB, stack=("test.call", "other.call"))):
        await world.clock.run(engine_of(world).run(flow(), Parameters(thing="x")))

    assert not await world.answered()


async def test_unless_answers_without_doing_anything(world: World) -> None:
    answer = await world.run(engine_of(world), queue="thing:x", unless=lambda tx: Parameters(thing="there already"))

    assert answer.thing == "there already"
    assert world.story == []


async def test_progress_tells_the_step_and_what_it_reports(world: World) -> None:
    world.gates["a3"] = asyncio.Event()
    world.hooks["a3"] = lambda: report_progress("half of it", 0.5)
    engine = engine_of(world)
    task = world.start(engine)
    gate = await world.wait_at("a3")

    run = engine.progress(JOB)

    assert run is not None
    assert run.title == "acting: half of it"
    assert run.percent == int(100 * 2.5 / 6)
    gate.set()
    await task
    assert engine.progress(JOB) is None


async def test_report_progress_outside_of_a_run_is_heard_by_nobody() -> None:
    report_progress("nothing", 1.0)


# -- failing ------------------------------------------------------------------------------------------------------


async def test_failing_transaction_leaves_nothing_of_its_neighbours(world: World) -> None:
    world.bad_do = {"t2"}

    with pytest.raises(CairnError, match=r"test\.refused"):
        await world.run(engine_of(world))

    assert await world.effects() == set()
    assert await world.rows() == []
    assert not any(line.startswith("undo") for line in world.story)


async def test_failing_action_is_undone_first_and_was_told_that_it_made_nothing(world: World) -> None:
    world.bad_late = {"a5"}

    with pytest.raises(CairnError, match=r"test\.refused"):
        await world.run(engine_of(world))

    undone = [line.removeprefix("undo ") for line in world.story if line.startswith("undo")]
    assert undone == ["a5", "t4", "a3", "t2", "t1"]
    assert world.made["a5"] is None
    assert all(world.made[step] is not None for step in ("t4", "a3", "t2", "t1"))
    assert await world.effects() == set()
    assert await world.rows() == []
    assert not await world.answered()


async def test_failing_transaction_behind_an_action_undoes_only_what_was_durable(world: World) -> None:
    world.bad_do = {"t4"}

    with pytest.raises(CairnError):
        await world.run(engine_of(world))

    assert [line for line in world.story if line.startswith("undo")] == ["undo a3", "undo t2", "undo t1"]


async def test_exception_that_is_no_error_of_ours_is_answered_as_a_bug(world: World) -> None:
    def break_it() -> None:
        raise ZeroDivisionError("x")

    world.hooks["a3"] = break_it

    with pytest.raises(CairnError, match=r"internal\.bug"):
        await world.run(engine_of(world))

    assert await world.effects() == set()


async def test_step_that_awaits_something_cancelled_fails_like_any_other(world: World) -> None:
    def break_it() -> None:
        raise asyncio.CancelledError

    world.hooks["a3"] = break_it

    with pytest.raises(CairnError, match=r"workflow\.cancelled"):
        await world.run(engine_of(world))

    assert await world.effects() == set()
    assert await world.rows() == []


# -- undo that fails ----------------------------------------------------------------------------------------------


async def test_failed_undo_does_not_stop_the_others_and_is_shown(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 1

    with pytest.raises(CairnError) as caught:
        await world.run(engine_of(world))

    (row,) = await world.rows()
    assert caught.value.details["undoPending"] == row.uuid
    assert row.state is RunState.UNDO_FAILED
    assert row.undo_left == [2]
    assert "test.refused" in row.undo_errors["a3"]
    assert row.error is not None
    assert row.error.code == "test.refused"
    assert await world.effects() == {"a3"}


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


async def test_failed_undo_of_a_transaction_step_leaves_nothing_of_the_attempt(world: World) -> None:
    world.bad_late = {"a3"}
    world.bad_undo["t1"] = 1
    with pytest.raises(CairnError):
        await world.run(engine_of(world))
    assert await world.effects() == {"t1"}

    await world.clock.advance(RETRY_SECONDS)

    assert await world.effects() == set()


async def test_retry_by_hand_starts_no_second_loop(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 100
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()

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
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 1
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()
    world.gates["undo a3"] = asyncio.Event()
    first = asyncio.create_task(engine.retry(row.uuid))
    gate = await world.wait_at("undo a3")

    with pytest.raises(CairnError, match=r"workflow\.still-running"):
        await engine.retry(row.uuid)

    gate.set()
    assert await first


async def test_settled_run_is_forgotten(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 9
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()

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

    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 1
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()
    monkeypatch.setattr("cairn.kernel.flow.engine.load", unreadable)

    await engine.settle(row.uuid)

    assert await world.rows() == []


async def test_node_that_is_declared_gone_settles_nothing(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo.update(("t1", "a3"))
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    (row,) = await world.rows()
    world.fenced = True

    with pytest.raises(CairnError, match=r"node\.fenced"):
        await engine.settle(row.uuid)

    assert await world.rows() == [row]


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
    def fence() -> None:
        world.fenced = True

    world.bad_late = {"a5"}
    world.hooks["undo a5"] = fence

    with pytest.raises(CairnError, match=r"node\.fenced"):
        await world.run(engine_of(world))

    assert [line for line in world.story if line.startswith("undo")] == ["undo a5"]
    assert [row.state for row in await world.rows()] == [RunState.UNDOING]


# -- cancellation -------------------------------------------------------------------------------------------------


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


async def test_cancelled_before_it_begins_it_does_nothing(world: World) -> None:
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

    async def write(self, fn):  # type: ignore[no-untyped-def]
        await self.gate.wait()
        return await self._real.write(fn)

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
