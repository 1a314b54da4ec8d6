from __future__ import annotations

import asyncio

import pytest
from tests.unit.kernel.flow.world import new_world

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow import errors
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.flow.run import Run
from cairn.testing.clock import START


async def a_run(failed: CairnError | None = None) -> Run:
    world = await new_world()
    effective = world.engine({"test.flow": ["t1", "a2"]}).book.effective("test.flow")
    row = FlowRun(
        uuid="r",
        workflow="test.flow",
        steps=["t1", "a2"],
        data=b"{}",
        position=1,
        error=None if failed is None else failed.record(),
        create_date=START,
        last_op_date=START,
    )
    return Run(effective, row, {}, persisted=True)


async def test_error_of_a_step_is_what_the_run_fails_with() -> None:
    error = CairnError("test.refused", "No.", kind=ErrorKind.CONFLICT)

    assert errors.known(error, await a_run()) is error


async def test_cancellation_says_at_which_step_it_came() -> None:
    error = errors.known(asyncio.CancelledError(), await a_run())

    assert (error.code, error.kind) == ("workflow.cancelled", ErrorKind.CANCELLED)
    assert "while acting" in error.message


async def test_mistake_names_the_workflow_and_the_step() -> None:
    error = errors.known(ZeroDivisionError(), await a_run())

    assert error.kind is ErrorKind.INTERNAL
    assert "test.flow, in the step a2" in error.whole


@pytest.mark.parametrize("failed", [None, CairnError("test.refused", "No.", kind=ErrorKind.CONFLICT)])
async def test_what_is_not_undone_yet_names_its_run(failed: CairnError | None) -> None:
    row = (await a_run(failed)).row

    error = errors.pending(row)

    assert error.code == errors.recorded(row).code == ("internal.bug" if failed is None else "test.refused")
    assert error.details["undoPending"] == "r"
    assert errors.undo_pending("r", failed).details["undoPending"] == "r"


async def test_each_has_a_code_of_its_own_and_says_what_to_do() -> None:
    run = await a_run()

    assert errors.still_running("r").code == "workflow.still-running"
    assert errors.undo_pending("r", None).code == "workflow.undo-pending"
    assert errors.cancelled(run.row).kind is ErrorKind.CANCELLED
    assert errors.stopped(run).kind is ErrorKind.UNAVAILABLE
