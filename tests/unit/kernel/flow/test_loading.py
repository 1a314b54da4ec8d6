from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.kernel.flow.world import World, new_world

from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.flow.loading import load
from cairn.kernel.flow.step import ActionStep
from cairn.kernel.flow.workflow import WorkflowBook

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def world() -> World:
    return await new_world()


def book(world: World, *steps: str, name: str = "test.flow") -> WorkflowBook:
    return world.engine({name: steps}).book


def row(steps: list[str], **more: object) -> FlowRun:
    fields: dict[str, object] = {"undo_left": [2, 0], "position": 2, "data": b'{"thing":"x","t1":"one","q2":"two"}'}
    return FlowRun(
        uuid="r",
        workflow="test.flow",
        steps=steps,
        create_date=NOW,
        last_op_date=NOW,
        **(fields | more),  # type: ignore[arg-type]
    )


def test_a_run_is_read_with_its_own_steps_in_their_types(world: World) -> None:
    run = load(book(world, "t1", "q2", "a3"), row(["t1", "q2", "a3"]))
    assert [step.name for step in run.effective.steps] == ["t1", "q2", "a3"]
    assert run.data == {"thing": "x", "t1": "one", "q2": "two"}
    assert run.row.undo_left == [2, 0]
    assert run.persisted
    run.check()


async def test_a_finished_step_without_undo_that_is_gone_is_passed_over(world: World) -> None:
    run = load(book(world, "t1", "a3"), row(["t1", "q2", "a3"]))
    run.check()
    gone = run.effective.steps[1]
    assert isinstance(gone, ActionStep)
    assert gone.name == "q2"
    assert gone.nothing_to_undo is not None
    with pytest.raises(CairnError, match=r"workflow\.step-gone"):
        await gone.do(gone.input())


async def test_a_run_cannot_go_on_to_a_step_that_is_gone(world: World) -> None:
    run = load(book(world, "t1", "q2"), row(["t1", "q2", "a3"]))
    with pytest.raises(CairnError, match=r"workflow\.step-gone") as caught:
        run.check()
    assert caught.value.details == {"step": "a3"}
    gone = run.effective.steps[2]
    assert isinstance(gone, ActionStep)
    assert gone.nothing_to_undo is None
    with pytest.raises(CairnError, match=r"workflow\.step-gone"):
        await gone.undo(gone.input(), None)
    with pytest.raises(CairnError, match=r"workflow\.step-gone"):
        await gone.do(gone.input())


def test_a_run_of_a_workflow_that_is_gone_is_undone_by_the_steps_that_are_there(world: World) -> None:
    run = load(book(world, "t1", "q2", "a3", name="other.flow"), row(["t1", "q2", "a3"]))
    with pytest.raises(CairnError, match=r"workflow\.not-found"):
        run.check()
    assert run.data["t1"] == "one"


def test_an_undo_that_had_begun_goes_on_without_the_step_that_is_gone(world: World) -> None:
    run = load(book(world, "t1"), row(["t1", "q2", "a3"], state=RunState.UNDOING))
    run.check()  # it is not cancelled: it goes back already


def test_a_run_of_a_version_that_did_not_say_what_to_undo_has_everything_to_undo_that_is_not_known_to_be_lasting(
    world: World,
) -> None:
    run = load(book(world, "t1", "q2"), row(["t1", "q2", "a3"], undo_left=[]))
    assert run.row.undo_left == [2, 0]
    assert run.effective.steps[2].nothing_to_undo is None
