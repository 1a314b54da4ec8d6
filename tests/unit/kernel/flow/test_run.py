from __future__ import annotations

import asyncio

import pytest
from tests.unit.kernel.flow.world import new_world

from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.flow.run import RUN, Run, report_progress
from cairn.testing.clock import START


async def a_run(position: int = 1, state: RunState = RunState.RUNNING) -> Run:
    world = await new_world()
    effective = world.engine({"test.flow": ["t1", "a2", "t3", "a4"]}).book.effective("test.flow")
    row = FlowRun(
        uuid="r",
        workflow="test.flow",
        steps=[step.name for step in effective.steps],
        data=b"{}",
        position=position,
        state=state,
        create_date=START,
        last_op_date=START,
    )
    return Run(effective, row, {}, persisted=True)


async def test_title_names_the_step_at_work_and_its_note() -> None:
    run = await a_run()
    assert run.title == "acting"

    run.note = "12 of 40 GiB"

    assert run.title == "acting: 12 of 40 GiB"


async def test_title_of_a_run_that_goes_back_says_so() -> None:
    assert (await a_run(state=RunState.UNDOING)).title == "undoing what was done"


async def test_percent_stays_below_100_until_the_end() -> None:
    assert (await a_run(4)).percent == 99


async def test_reported_fraction_is_kept_within_its_step() -> None:
    run = await a_run()
    token = RUN.set(run)
    report_progress("much", 7.0)
    RUN.reset(token)

    assert run.fraction == 1.0
    assert run.percent == 50


async def test_cancelled_run_goes_no_further_and_keeps_its_first_reason() -> None:
    run = await a_run()
    run.check()

    run.cancel()
    run.cancel(CairnError("test.late", "x"))

    with pytest.raises(asyncio.CancelledError):
        run.check()


async def test_run_cancelled_for_a_reason_fails_with_it() -> None:
    run = await a_run()

    run.cancel(CairnError("test.reason", "x"))

    with pytest.raises(CairnError, match=r"test\.reason"):
        run.check()
