"""What becomes of runs that another life of the process has left behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.unit.kernel.flow.world import JOB, RETRY_SECONDS, Crash, Parameters, Watch, World, flow, new_world

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun, RunState, heads
from cairn.kernel.store.store import Tx

PLAN = ["t1", "t2", "a3", "t4", "a5", "t6"]


@pytest.fixture
async def world() -> World:
    return await new_world()


def engine_of(world: World, steps: list[str] = PLAN, probe: Watch | None = None) -> FlowEngine:
    return world.engine({"test.flow": steps}, probe)


async def adopted(world: World, engine: FlowEngine) -> frozenset[str]:
    """Have the engine of the next life keep the places of all runs. Returns the jobs that have some."""
    return engine.adopt(await world.store.read(heads))


async def crash_and_recover(world: World, plans: dict[str, list[str]], crash_at: int) -> bool:
    """Run until the process dies at a journal write, then go on with another engine. False: it did not die any more."""
    probe = Watch(crash_at)
    with suppress(Crash, CairnError):
        await world.run(world.engine(plans, probe), queue="thing:x")
    if not probe.crashed:
        return False
    if not await world.answered():
        engine = world.engine(plans)
        begun = await world.rows()
        with suppress(CairnError):
            await world.clock.run(engine.recover(JOB))
        if not begun:
            assert await world.effects() == set()
    return True


NESTED = {"test.flow": ["t1", "n2", "a3", "t4"], "inner.n2": ["t_n2", "a_n2"]}


@pytest.mark.parametrize("bad", [set(), {"a3"}, {"a_n2"}], ids=["good", "outer fails", "inner fails"])
@pytest.mark.parametrize("plans", [{"test.flow": PLAN}, {"test.flow": ["a3"]}, NESTED], ids=["flat", "one", "nested"])
async def test_crash_at_any_journal_write_ends_with_all_or_nothing(plans: dict[str, list[str]], bad: set[str]) -> None:
    crash_at = 0
    alive = True
    while alive:
        world = await new_world()
        world.bad_late = set(bad)
        alive = await crash_and_recover(world, plans, crash_at)
        everything = {step for steps in plans.values() for step in steps if not step.startswith("n")}
        effects = await world.effects()
        assert await world.rows() == [], crash_at
        assert effects == (everything if await world.answered() else set()), crash_at
        assert not (bad & everything and await world.answered())
        crash_at += 1
    assert crash_at > 3


async def stopped_at(world: World, engine: FlowEngine, gate: str) -> None:
    """Run until `gate` and kill the engine there."""
    world.gates[gate] = asyncio.Event()
    task = world.start(engine, queue="thing:x")
    await world.wait_at(gate)
    await engine.stop()
    with suppress(asyncio.CancelledError):
        await task
    del world.gates[gate]
    world.story.clear()


async def test_recovery_repeats_the_step_that_was_under_way_and_no_earlier_one(world: World) -> None:
    await stopped_at(world, engine_of(world), "a5")

    await world.clock.run(engine_of(world).recover(JOB))

    assert world.story == ["do a5", "do t6"]
    assert await world.answered()


async def test_recovery_of_a_cancelled_job_undoes(world: World) -> None:
    await stopped_at(world, engine_of(world), "a5")

    with pytest.raises(CairnError, match=r"workflow\.cancelled"):
        await world.clock.run(engine_of(world).recover(JOB, cancel=True))

    assert await world.effects() == set()
    assert await world.rows() == []


async def test_recovery_cancelled_while_it_waits_in_the_queue_undoes_when_its_turn_comes(world: World) -> None:
    await stopped_at(world, engine_of(world), "a5")
    done = asyncio.Event()
    holder = asyncio.create_task(world.queues.run("thing:x", done.wait, name="holder"))
    await world.clock.settle()
    recovery = asyncio.create_task(engine_of(world).recover(JOB))
    await world.clock.settle()
    recovery.cancel()
    await world.clock.settle()
    assert not recovery.done()

    done.set()
    await holder
    with pytest.raises(asyncio.CancelledError):
        await recovery

    assert await world.effects() == set()
    assert await world.rows() == []


async def test_recovery_of_an_undo_cancelled_meanwhile_keeps_its_place_until_it_is_done(world: World) -> None:
    world.bad_late = {"a5"}
    await stopped_at(world, engine_of(world), "undo a3")
    world.gates["undo a3"] = asyncio.Event()
    recovery = asyncio.create_task(engine_of(world).recover(JOB))
    gate = await world.wait_at("undo a3")
    recovery.cancel()
    other = asyncio.create_task(world.queues.run("thing:x", lambda: asyncio.sleep(0, "in"), name="other"))
    await world.clock.settle()
    assert not other.done()
    assert not recovery.done()

    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await recovery

    assert await other == "in"
    assert await world.rows() == []


async def test_recovery_skips_a_run_that_is_alive(world: World) -> None:
    world.gates["a3"] = asyncio.Event()
    engine = engine_of(world)
    task = world.start(engine)
    gate = await world.wait_at("a3")

    await engine.recover(JOB)

    assert world.story.count("do a3") == 1
    gate.set()
    await task


async def test_recovery_of_a_job_whose_undo_failed_reports_its_error_and_does_not_go_on(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 1
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine)
    await engine.stop()

    with pytest.raises(CairnError, match=r"test\.refused") as caught:
        await engine_of(world).recover(JOB)

    assert caught.value.details["undoPending"] == (await world.rows())[0].uuid
    await world.clock.advance(RETRY_SECONDS)
    assert await world.rows() == []


async def test_outer_run_does_not_go_on_when_something_of_the_inner_one_is_not_undone() -> None:
    world = await new_world()
    world.bad_late = {"a_n2"}
    world.bad_undo["a_n2"] = 1
    engine = world.engine(NESTED)
    # the process dies between the inner run's end and the outer one's next entry
    world.hooks["undo a_n2"] = lambda: None
    with pytest.raises(CairnError):
        await world.run(engine)
    (inner,) = await world.rows()
    outer = replace(
        inner, uuid=inner.parent_uuid or "", parent_uuid=None, workflow="test.flow", state=RunState.RUNNING, position=1
    )
    outer = replace(outer, steps=NESTED["test.flow"], undo_left=[], error=None, data=b'{"thing":"x","t1":"made"}')
    await world.store.write(lambda tx: tx.insert(outer))
    await engine.stop()
    world.story.clear()

    with pytest.raises(CairnError, match=r"test\.refused"):
        await world.clock.run(world.engine(NESTED).recover(JOB))

    assert not any(line.startswith("do ") for line in world.story)
    assert [row.uuid for row in await world.rows()] == [inner.uuid]


async def test_inner_run_knows_its_outer_one_and_the_queue_of_its_own(world: World) -> None:
    engine = world.engine(NESTED)
    world.gates["a_n2"] = asyncio.Event()
    task = world.start(engine, queue="thing:x")
    gate = await world.wait_at("a_n2")

    by_name = {row.workflow: row for row in await world.rows()}

    assert by_name["inner.n2"].parent_uuid == by_name["test.flow"].uuid
    assert by_name["inner.n2"].queue_key == "inner:n2"
    assert not by_name["inner.n2"].concludes
    assert by_name["test.flow"].concludes
    gate.set()
    await task
    assert await world.answered()


async def test_orphans_are_taken_up_inner_ones_first() -> None:
    world = await new_world()
    engine = world.engine(NESTED)
    world.gates["a_n2"] = asyncio.Event()
    task = asyncio.create_task(engine.run(flow(), Parameters(thing="x"), queue="thing:x"))
    await world.wait_at("a_n2")
    await engine.stop()
    with suppress(asyncio.CancelledError):
        await task
    assert len(await world.rows()) == 2
    world.gates.clear()
    world.story.clear()

    await world.engine(NESTED).recover_orphans()
    await world.clock.settle()

    assert await world.rows() == []
    assert world.story[0] == "do a_n2"
    assert await world.effects() == {"t1", "t_n2", "a_n2", "a3", "t4"}


async def test_orphan_whose_undo_could_not_begin_is_taken_up_again_in_a_while(world: World) -> None:
    world.bad_late = {"a3"}
    world.hooks["a3"] = world.fence
    engine = engine_of(world)
    with pytest.raises(CairnError, match=r"node\.fenced"):
        await world.clock.run(engine.run(flow(), Parameters(thing="x")))
    assert len(await world.rows()) == 1

    world.unfence()
    world.hooks.clear()
    await world.clock.advance(RETRY_SECONDS)

    assert await world.rows() == []
    assert await world.effects() == set()


async def test_step_that_is_gone_is_undone_when_its_plugin_is_back_and_the_others_at_once(world: World) -> None:
    await stopped_at(world, engine_of(world), "a5")
    without = engine_of(world, ["t1", "t2", "t4", "a5"])

    with pytest.raises(CairnError, match=r"workflow\.step-gone") as caught:
        await world.clock.run(without.recover(JOB))

    (row,) = await world.rows()
    assert caught.value.details["undoPending"] == row.uuid
    assert row.state is RunState.UNDO_FAILED
    assert (row.undo_left, set(row.undo_errors)) == ([5, 2], {"a3", "t6"})  # t6 may be an action, for all that is known
    assert await world.effects() == {"a3"}
    await world.clock.advance(RETRY_SECONDS)
    assert len(await world.rows()) == 1
    await without.stop()
    await engine_of(world).recover_orphans()
    await world.clock.advance(RETRY_SECONDS)
    assert await world.rows() == []
    assert await world.effects() == set()


async def test_finished_step_that_is_gone_and_has_nothing_to_undo_is_no_obstacle(world: World) -> None:
    plan = ["t1", "q2", "t3", "a4", "t5"]
    await stopped_at(world, engine_of(world, plan), "a4")

    await world.clock.run(engine_of(world, ["t1", "t3", "a4", "t5"]).recover(JOB))

    assert await world.answered()
    assert await world.effects() == {"t1", "t3", "a4", "t5"}


async def test_step_that_is_gone_and_may_have_been_begun_is_owed(world: World) -> None:
    """The journal stands before a2. Whether a3 was begun is not known, nor what it is."""
    await stopped_at(world, engine_of(world, ["t1", "a2", "a3", "t4"]), "a3")

    with pytest.raises(CairnError, match=r"workflow\.step-gone"):
        await world.clock.run(engine_of(world, ["t1", "a2", "t4"]).recover(JOB))

    (row,) = await world.rows()
    assert (row.undo_left, set(row.undo_errors)) == ([2], {"a3"})


async def test_settling_undoes_what_is_left_in_the_database(world: World) -> None:
    world.bad_late = {"a3"}
    world.bad_undo.update({"a3": 9, "t1": 1})
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine, queue="thing:x")
    (row,) = await world.rows()
    assert row.undo_left == [2, 0]

    await world.clock.run(engine.settle(row.uuid))

    assert await world.rows() == []
    assert await world.effects() == {"a3"}
    assert world.story.count("undo a3") == 1


async def test_run_keeps_its_place_from_the_first_moment_of_the_next_life(world: World) -> None:
    await stopped_at(world, engine_of(world), "a5")
    engine = engine_of(world)

    assert await adopted(world, engine) == {JOB}
    other = asyncio.create_task(world.queues.run("thing:x", lambda: asyncio.sleep(0, "in"), name="other"))
    await world.clock.settle()
    assert not other.done()
    await world.clock.run(engine.recover(JOB))

    assert await other == "in"
    assert await world.answered()
    assert world.queues.inspect() == []


async def test_places_of_inner_and_outer_runs_are_free_once_each_has_ended() -> None:
    world = await new_world()
    await stopped_at(world, world.engine(NESTED), "a_n2")
    engine = world.engine(NESTED)
    await adopted(world, engine)
    assert {report.key for report in world.queues.inspect()} == {"thing:x", "inner:n2"}

    await world.clock.run(engine.recover(JOB))

    assert await world.answered()
    assert world.queues.inspect() == []


async def test_place_of_a_run_that_cannot_be_read_is_given_away(world: World) -> None:
    await stopped_at(world, engine_of(world), "a3")
    await world.store.write(lambda tx: tx.update(FlowRun, tx.find(FlowRun)[0].uuid, data=b"{]"))
    engine = engine_of(world)
    await adopted(world, engine)

    with pytest.raises(CairnError, match=r"internal\.bug"):
        await world.clock.run(engine.recover(JOB))

    assert world.queues.inspect() == []


async def test_undo_that_is_owed_is_known_before_anything_else_begins(world: World) -> None:
    world.bad_late = {"a5"}
    world.bad_undo["a3"] = 2
    engine = engine_of(world)
    with pytest.raises(CairnError):
        await world.run(engine, queue="thing:x")
    await engine.stop()
    engine = engine_of(world)

    assert await adopted(world, engine) == frozenset()
    with pytest.raises(CairnError, match=r"workflow\.undo-pending"):
        await world.run(engine, queue="thing:x")
    assert await world.effects() == {"a3"}


async def test_place_is_kept_while_the_undo_cannot_be_written_down(world: World) -> None:
    class Full(Watch):
        full = False

        def journal(self, workflow: str, moment: str) -> None:
            if self.full and moment == "before":
                raise CairnError("store.full", "The disk is full. Make room.", kind=ErrorKind.EXHAUSTED)

    probe = Full()
    world.bad_late = {"a3"}
    world.hooks["a3"] = lambda: setattr(probe, "full", True)
    task = world.start(engine_of(world, probe=probe), queue="thing:x")
    other = asyncio.create_task(world.queues.run("thing:x", lambda: asyncio.sleep(0, "in"), name="other"))
    await world.clock.advance(60)
    assert not task.done()
    assert not other.done()

    probe.full = False
    with pytest.raises(CairnError, match=r"test\.refused"):
        await world.clock.run(task)

    assert await other == "in"
    assert await world.effects() == set()
    assert await world.rows() == []


async def test_changed_list_does_not_change_a_run_that_is_under_way(world: World) -> None:
    await stopped_at(world, engine_of(world), "a3")

    changed = world.engine({"test.flow": ["t1", "a9"], "spare.flow": PLAN})
    await world.clock.run(changed.recover(JOB))

    assert world.story == ["do a3", "do t4", "do a5", "do t6"]


async def test_run_in_the_journal_is_decoded_by_its_own_steps(world: World) -> None:
    await stopped_at(world, engine_of(world), "a3")

    def shorten(tx: Tx) -> None:
        (row,) = tx.find(FlowRun)
        tx.update(FlowRun, row.uuid, data=row.data.replace(b'"made by t2"', b"[1]"))

    await world.store.write(shorten)
    with pytest.raises(CairnError, match=r"internal\.bug"):
        await engine_of(world).recover(JOB)

    assert [row.state for row in await world.rows()] == [RunState.UNDO_FAILED]
