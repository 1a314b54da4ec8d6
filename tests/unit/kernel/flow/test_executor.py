from __future__ import annotations

from contextlib import suppress

import pytest
from tests.unit.kernel.flow.world import RETRY_SECONDS, Watch, new_world

from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import RunState
from cairn.kernel.flow.step import AnyStep


class Twice(Watch):
    """Has every action done twice."""

    def times(self, step: AnyStep) -> int:
        return 2


async def test_probe_has_actions_done_twice() -> None:
    world = await new_world()

    await world.run(world.engine({"test.flow": ["t1", "a2"]}, Twice()))

    assert world.story == ["do t1", "do a2", "do a2"]


async def test_journal_names_the_run_before_its_first_action() -> None:
    world = await new_world()
    seen: list[int] = []
    world.hooks["a1"] = lambda: seen.append(probe.journals)
    probe = Watch()

    await world.run(world.engine({"test.flow": ["a1", "t2"]}, probe))

    assert seen == [2]


async def test_undo_names_what_is_left_after_each_step() -> None:
    world = await new_world()
    world.bad_late = {"a4"}
    world.bad_undo["a3"] = 1
    left: list[list[int]] = []

    async def look() -> None:
        left.extend(row.undo_left for row in await world.rows())

    class Looking(Watch):
        def undoing(self, workflow: str, step: AnyStep) -> None:
            with suppress(StopIteration):
                look().send(None)

    with pytest.raises(CairnError):
        await world.run(world.engine({"test.flow": ["t1", "a2", "a3", "a4"]}, Looking()))

    assert left == [[3, 2, 1, 0], [2, 1, 0], [2, 1, 0], [0, 2]]
    assert [row.state for row in await world.rows()] == [RunState.UNDO_FAILED]


async def test_step_with_nothing_to_undo_is_passed_over() -> None:
    world = await new_world()
    world.bad_late = {"a3"}
    engine = world.engine({"test.flow": ["a1", "q2", "a3"]})

    with pytest.raises(CairnError):
        await world.run(engine)

    assert [line for line in world.story if line.startswith("undo")] == ["undo a3", "undo a1"]


async def test_undo_that_others_need_waits_for_them() -> None:
    world = await new_world()
    world.bad_late = {"a3"}
    world.bad_undo["a2"] = 1
    engine = world.engine({"test.flow": ["t1", "a2", "a3"]})
    type(engine.book.step("t1")).undone_last = True

    with pytest.raises(CairnError):
        await world.run(engine)

    assert world.story[-2:] == ["undo a3", "undo a2"]
    (row,) = await world.rows()
    assert (row.undo_left, set(row.undo_errors)) == ([1, 0], {"t1", "a2"})
    await world.clock.advance(RETRY_SECONDS)
    assert world.story[-2:] == ["undo a2", "undo t1"]
    assert await world.rows() == []
