"""Reads a run back from the journal, also when some of its steps, or its whole workflow, are not there any more.

A step whose plugin was taken out has a stand-in. If the journal says that there is nothing to undo in it, it is passed over.
Otherwise its undo fails until the plugin is back or somebody settles the run; the other steps are undone meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import FlowRun, RunState, decode_data
from cairn.kernel.flow.reach import reached
from cairn.kernel.flow.run import Run
from cairn.kernel.flow.step import ActionStep, AnyStep, Nothing
from cairn.kernel.flow.workflow import (
    AnyWorkflow,
    EffectiveWorkflow,
    Workflow,
    WorkflowBook,
    step_gone,
    types_of,
    undo_order,
)


class _Gone(ActionStep[Nothing, Nothing]):
    """Stands for a step that is not there any more, and of which nothing has to be undone."""

    name = "gone"
    title = "a step of a plugin that is gone"
    nothing_to_undo: ClassVar[str | None] = "the journal says so"

    async def do(self, given: Nothing) -> Nothing:
        """Refuse."""
        raise step_gone(self.name)


class _GoneOwing(ActionStep[Nothing, Nothing]):
    """Stands for a step that is not there any more and has something to undo."""

    name = "gone-owing"
    title = "a step of a plugin that is gone"

    async def do(self, given: Nothing) -> Nothing:
        """Refuse."""
        raise step_gone(self.name)

    async def undo(self, given: Nothing, made: Nothing | None) -> None:
        """Refuse."""
        raise step_gone(self.name)


def load(book: WorkflowBook, row: FlowRun) -> Run:
    """The run of a row. One that cannot go on, because a step that it needs is gone, is cancelled with the reason.

    Raises:
        Exception: its data cannot be read in the types that the steps have now.
    """
    there: dict[int, AnyStep] = {}
    gone: list[int] = []
    for index, name in enumerate(row.steps):
        try:
            there[index] = book.step(name)
        except CairnError:
            gone.append(index)
    if row.state is RunState.RUNNING and not row.undo_left:  # written by a version that did not say yet
        passed = [index for index, step in there.items() if step.nothing_to_undo is not None]
        row = replace(row, undo_left=[index for index in reversed(range(len(row.steps))) if index not in passed])
    for index in gone:
        there[index] = _stand_in(row.steps[index], owing=index in row.undo_left)
    steps = tuple(there[index] for index in range(len(row.steps)))
    workflow, reason = _workflow(book, row)
    types = _types(workflow, steps)
    effective = EffectiveWorkflow(workflow=workflow, entries=(), steps=steps, types=types, undo_order=undo_order(steps))
    run = Run(effective, row, decode_data(row.data, types), persisted=True)
    needed = [index for index in gone if index >= row.position]
    if needed and reason is None:
        reason = step_gone(row.steps[needed[0]])
    if reason is not None and row.state is RunState.RUNNING:
        run.cancel(reason)
    return run


def may_have_begun(book: WorkflowBook, row: FlowRun) -> int:
    """How many steps of a run may have been begun that cannot be read. Steps that are not there any more count as actions."""
    steps: list[AnyStep] = []
    for name in row.steps:
        try:
            steps.append(book.step(name))
        except CairnError:
            steps.append(_Gone())
    return reached(steps, row.position)


def _stand_in(name: str, *, owing: bool) -> AnyStep:
    base = _GoneOwing if owing else _Gone
    kind: type[_Gone | _GoneOwing] = type(base.__name__, (base,), {"name": name})
    return kind()


def _workflow(book: WorkflowBook, row: FlowRun) -> tuple[AnyWorkflow, CairnError | None]:
    """The run's workflow; a stand-in, and why it cannot go on, when it is not there any more."""
    try:
        return book.effective(row.workflow).workflow, None
    except CairnError as error:
        return Workflow(name=row.workflow, parameters=Nothing, answer=Nothing, doc="It is gone."), error


def _types(workflow: AnyWorkflow, steps: Iterable[AnyStep]) -> dict[str, object]:
    """The types of all fields when a run began: by its own steps, which may no longer be on the list.

    What a step makes tells the type. Where that step is gone, one that takes the field tells it.
    """
    steps = list(steps)
    records: list[type[Struct]] = [*(step.input for step in steps), workflow.parameters]
    types: dict[str, object] = {}
    for record in [*records, *(step.output for step in steps)]:
        types.update(types_of(record))
    return types
