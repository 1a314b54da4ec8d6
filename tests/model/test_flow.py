"""Random workflows with random failures, crashes and failing undos, against a model too simple to be wrong.

However often the process died: in the end a job has all effects and its answer, or none and no answer. Until failing undos
succeed, exactly the effects that they were to take back are there, and the journal lists them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from tests.unit.kernel.flow.world import JOB, RETRY_SECONDS, Crash, Watch, World, new_world

from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import RunState


class Case(Struct, frozen=True, kw_only=True):
    steps: list[str]
    bad_do: set[str]
    bad_late: set[str]
    bad_undo: dict[str, int]
    crashes: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kinds = draw(st.lists(st.sampled_from("ta"), min_size=1, max_size=7))
    steps = [f"{kind}{number}" for number, kind in enumerate(kinds)]
    some = st.sets(st.sampled_from(steps), max_size=2)
    return Case(
        steps=steps,
        bad_do=draw(some),
        bad_late=draw(some),
        bad_undo=draw(st.dictionaries(st.sampled_from(steps), st.integers(1, 3), max_size=2)),
        crashes=draw(st.lists(st.integers(0, 12), max_size=3)),
    )


async def live(world: World, case: Case) -> bool:
    """Run the workflow in as many lives as it takes. Whether it was begun again although it had ended."""
    plans = {"test.flow": case.steps}
    for crash_at in [*case.crashes, None]:
        engine = world.engine(plans, Watch(crash_at))
        with suppress(Crash, CairnError):
            if await world.rows():
                await world.clock.run(engine.recover(JOB))
            elif not await world.answered():
                await world.run(engine, queue="thing:x")
        if crash_at is not None:
            await engine.stop()
    return True


@settings(max_examples=150, deadline=None)
@given(cases())
def test_all_or_nothing_and_what_is_between_is_listed(case: Case) -> None:
    asyncio.run(check(case))


async def check(case: Case) -> None:
    world = await new_world()
    world.bad_do, world.bad_late = set(case.bad_do), {step for step in case.bad_late if step.startswith("a")}
    world.bad_undo = Counter(case.bad_undo)
    await live(world, case)

    listed: set[str] = set()
    for row in await world.rows():
        assert row.state is RunState.UNDO_FAILED
        listed |= {case.steps[index] for index in row.undo_left}
    effects = await world.effects()
    doomed = bool(world.bad_do | world.bad_late)
    assert await world.answered() is not doomed
    if doomed:
        assert effects <= listed
        assert effects >= {step for step in listed if step.startswith("t")}
    else:
        assert effects == set(case.steps)
        assert not listed

    await world.clock.advance(10 * RETRY_SECONDS)

    assert await world.rows() == []
    assert await world.effects() == (set() if doomed else set(case.steps))
    await world.store.close()
