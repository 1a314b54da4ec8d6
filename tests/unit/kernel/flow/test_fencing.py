from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from tests.unit.kernel.flow.world import Parameters, World, flow, new_world

from cairn.agents.protocol.codes import STALE_EPOCH
from cairn.agents.protocol.fence import Fence
from cairn.kernel.bus.context import current, entered
from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import RunState


def stale() -> CairnError:
    return CairnError(STALE_EPOCH, "Another node has taken this over.")


def noting(seen: list[Fence | None]) -> Callable[[], object]:
    return lambda: seen.append(current().fence)


def counting(world: World) -> None:
    """The epoch rises each time that it is asked for."""
    epochs = itertools.count(1)
    world.owners.begin = lambda tx, key: next(epochs)  # type: ignore[method-assign]


async def test_actions_and_their_undos_are_done_in_the_runs_turn_and_epoch() -> None:
    world = await new_world()
    counting(world)
    seen: list[Fence | None] = []
    world.hooks |= {"a1": noting(seen), "undo a1": noting(seen)}
    world.bad_do = {"a2"}

    with pytest.raises(CairnError):
        await world.run(world.engine({"test.flow": ["a1", "a2"]}), queue="vm:v")

    assert seen == [Fence(resource="vm:v", epoch=1, node=world.owners.node)] * 2


async def test_inner_run_with_a_turn_of_its_own_works_in_that() -> None:
    world = await new_world()
    seen: list[Fence | None] = []
    world.hooks |= {"a_n1": noting(seen), "a2": noting(seen)}

    await world.run(world.engine({"test.flow": ["n1", "a2"], "inner.n1": ["a_n1"]}), queue="vm:v")

    assert [fence and fence.resource for fence in seen] == ["inner:n1", "vm:v"]


async def test_run_without_a_turn_works_in_that_of_what_it_is_a_part_of() -> None:
    world = await new_world()
    seen: list[Fence | None] = []
    world.hooks["a1"] = noting(seen)
    outer = Fence(resource="vm:v", epoch=3, node="far")
    engine = world.engine({"test.flow": ["a1"]})

    with entered(current().fenced(outer)):
        await world.clock.run(engine.run(flow(), Parameters(thing="x")))
    await world.clock.run(engine.run(flow(), Parameters(thing="x")))

    assert seen[0] == outer
    assert seen[1] is not None
    assert seen[1].resource.startswith("run:")


async def test_refused_run_that_is_anothers_is_left_alone_and_not_undone() -> None:
    world = await new_world()

    def refuse() -> None:
        world.fence()
        raise stale()

    world.hooks["a2"] = refuse

    with pytest.raises(CairnError) as caught:
        await world.run(world.engine({"test.flow": ["a1", "a2"]}), queue="vm:v")

    assert caught.value.code == "node.fenced"
    assert world.story == ["do a1", "do a2"]
    (row,) = await world.rows()
    assert (row.node_uuid, row.state) == ("other", RunState.RUNNING)


async def test_refused_run_that_is_still_this_nodes_goes_on_in_the_epoch_of_now() -> None:
    world = await new_world()
    counting(world)
    seen: list[Fence | None] = []

    def refuse_once() -> None:
        seen.append(current().fence)
        if len(seen) == 1:
            raise stale()

    world.hooks["a1"] = refuse_once

    await world.run(world.engine({"test.flow": ["a1", "a2"]}), queue="vm:v")

    assert [fence and fence.epoch for fence in seen] == [1, 2]
    assert (world.story, await world.rows()) == (["do a1", "do a1", "do a2"], [])


async def test_undo_that_is_refused_is_dropped_if_the_run_is_anothers_and_else_done_again() -> None:
    for is_lost in (True, False):
        world = await new_world()
        refusals = [stale()]

        def refuse(world: World = world, refusals: list[CairnError] = refusals, *, is_lost: bool = is_lost) -> None:
            if refusals:
                if is_lost:
                    world.fence()
                raise refusals.pop()

        world.hooks["undo a2"] = refuse
        world.bad_do = {"a3"}

        with pytest.raises(CairnError):
            await world.run(world.engine({"test.flow": ["a1", "a2", "a3"]}), queue="vm:v")

        undone = [line for line in world.story if line.startswith("undo")]
        if is_lost:
            assert undone == ["undo a3", "undo a2"]
            assert [row.node_uuid for row in await world.rows()] == ["other"]
        else:
            assert undone == ["undo a3", "undo a2", "undo a2", "undo a1"]
            assert await world.rows() == []


async def test_agent_that_goes_on_refusing_fails_the_run() -> None:
    world = await new_world()

    def refuse() -> None:
        raise stale()

    world.hooks["a2"] = refuse

    with pytest.raises(CairnError) as caught:
        await world.run(world.engine({"test.flow": ["a1", "a2"]}), queue="vm:v")

    assert caught.value.code == STALE_EPOCH
    assert (await world.effects(), await world.rows()) == (set(), [])
