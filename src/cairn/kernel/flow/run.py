"""One workflow under way, and a probe for tests that look into the engine."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from cairn.kernel.bus.context import CallContext
from cairn.kernel.error import CairnError
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.flow.reach import reached
from cairn.kernel.flow.step import ActionStep, AnyStep
from cairn.kernel.flow.workflow import EffectiveWorkflow
from cairn.kernel.ids import JobId


class FlowProbe:
    """Lets a test look into the engine and break things; this one does nothing."""

    def journal(self, workflow: str, moment: str) -> None:
        """Around each journal write; `moment` is ``before`` or ``after``."""

    def times(self, step: AnyStep) -> int:
        """How often an action step's `do` is called in a row."""
        return 1

    def doing(self, workflow: str, step: AnyStep) -> None:
        """Before a step's `do`; raising fails the step."""

    def done(self, workflow: str, step: AnyStep) -> None:
        """After a step's `do`; raising fails the step although it did its work."""

    def undoing(self, workflow: str, step: AnyStep) -> None:
        """Before a step's `undo`; raising fails the undo."""


class Run:
    """One workflow under way, as the engine holds it."""

    def __init__(
        self,
        effective: EffectiveWorkflow,
        row: FlowRun,
        data: dict[str, object],
        *,
        persisted: bool,
        begins: str | None = None,
    ) -> None:
        self.effective = effective
        self.begins = begins  #: the key that work begins on with it; None: it is inside of work that has begun
        self.row = row
        self.data = data
        self.persisted = persisted
        self.noted = row.position  #: where the journal says that it stands
        #: how many steps a former process may have begun, as far as the journal tells; 0 once this one has made an entry
        self.reach = reached(effective.steps, row.position) if persisted else 0
        self.cancelled = False
        self.reason: CairnError | None = None
        #: the task that an action is at work in, while it is
        self.action: asyncio.Task[object] | None = None
        self.note = ""
        self.fraction = 0.0
        #: the transaction step at work; its batch is not at `row.position` but behind it
        self.at: AnyStep | None = None

    def cancel(self, reason: CairnError | None = None) -> None:
        """Stop going forward; the step that runs now is cancelled. Safe to repeat, and while it is undone.

        Args:
            reason: what the run fails with; None: with its cancellation.
        """
        if self.cancelled:
            return
        self.cancelled, self.reason = True, reason
        if self.action is not None:
            self.action.cancel()

    def check(self) -> None:
        """Raise if it is to stop: before each step."""
        if self.cancelled:
            raise self.reason or asyncio.CancelledError

    @property
    def begun(self) -> int:
        """How many of its steps were begun: an action at its position may have been."""
        position, steps = self.row.position, self.effective.steps
        here = position + 1 if position < len(steps) and isinstance(steps[position], ActionStep) else position
        return max(here, self.reach)

    @property
    def percent(self) -> int:
        """How far it is, 0 to 99."""
        return min(99, int(100 * (self.row.position + self.fraction) / len(self.row.steps)))

    @property
    def step(self) -> AnyStep:
        """The step at work."""
        return self.at or self.effective.steps[min(self.row.position, len(self.effective.steps) - 1)]

    @property
    def title(self) -> str:
        """The title of the step at work, for people."""
        if self.row.state is not RunState.RUNNING:
            return "undoing what was done"
        step = self.step
        return f"{step.title}: {self.note}" if self.note else step.title


#: the run whose step is at work in this task, or in what it calls
RUN: ContextVar[Run | None] = ContextVar("cairn_flow_run", default=None)


def report_progress(note: str, fraction: float) -> None:
    """Tell how far the step that runs now is.

    Args:
        note: what is being done, for people.
        fraction: of this step, 0.0 to 1.0.
    """
    run = RUN.get()
    if run is not None:
        run.note, run.fraction = note, max(0.0, min(1.0, fraction))


def context_of(row: FlowRun) -> CallContext:
    """The context for a run that is taken up again. Its deadline is the matter of the task that waits for it."""
    job = JobId(row.job_uuid) if row.job_uuid else None
    return CallContext(job=job, stack=(row.workflow,), deadline=None, actor=row.actor, parent=row.parent_uuid)
