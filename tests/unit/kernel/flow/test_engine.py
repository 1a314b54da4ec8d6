from __future__ import annotations

import asyncio

import pytest
from tests.unit.kernel.flow.world import JOB, PLAN, RETRY_SECONDS, Parameters, Watch, World, engine_of, flow

from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.error import CairnError
from cairn.kernel.flow.engine import report_progress
from cairn.kernel.flow.journal import RunState

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


async def test_failed_undo_of_a_transaction_step_leaves_nothing_of_the_attempt(world: World) -> None:
    world.bad_late = {"a3"}
    world.bad_undo["t1"] = 1
    with pytest.raises(CairnError):
        await world.run(engine_of(world))
    assert await world.effects() == {"t1"}

    await world.clock.advance(RETRY_SECONDS)

    assert await world.effects() == set()
