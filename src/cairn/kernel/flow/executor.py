"""Moves one run forward and back, step by step, each step followed by the journal's entry.

The caller of `forward` and `undo` owns the run: the engine sees to it that there is one such task for a run, and that it is not
cancelled by the task that waits for it. `Run.cancel` cancels a run: it ends the step at work and leaves journal writes alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorRecord, internal
from cairn.kernel.flow.fencing import fence_of, is_refused, renew
from cairn.kernel.flow.journal import FlowRun, RunState, encode_data, fill
from cairn.kernel.flow.reach import entry_can_wait
from cairn.kernel.flow.run import FlowProbe, Run
from cairn.kernel.flow.step import ActionStep, AnyStep, TransactionStep
from cairn.kernel.flow.workflow import conclusion
from cairn.kernel.ids import JobId
from cairn.kernel.ownership import Ownership, change, remove
from cairn.kernel.store.store import Store, Tx

T = TypeVar("T")

Finisher = Callable[[Tx, JobId, object], None]

#: errors after which this node must do nothing more for a run: it is another's, or the node is going down
_NOT_OURS = frozenset({"node.fenced", "store.closed"})
#: errors of a call to a node that is not there any more, or is just leaving
_NODE_LOST = frozenset({"bus.node-gone", "bus.stopped"})
#: how often an action is run again because of such an error
_NODES_LOST = 5
_NODE_LOST_SECONDS = 1.0
_log = structlog.get_logger("cairn.flow")


class Executor:
    """Runs and undoes steps. The arguments are the engine's.

    Args:
        end_inner: has the runs end that steps of a run started on other nodes.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        finish: Finisher,
        owners: Ownership,
        undo_seconds: float,
        probe: FlowProbe,
        end_inner: Callable[[Run], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._finish = finish
        self._owners = owners
        self._undo_seconds = undo_seconds
        self._probe = probe
        self._end_inner = end_inner
        self._wheel = DeadlineWheel(clock)  # of undos

    def stop(self) -> None:
        """Forget the deadlines of undos that are running."""
        self._wheel.stop()

    # -- forward --------------------------------------------------------------------------------------------------

    async def forward(self, run: Run) -> None:
        """Take a run to its end, from where it stands."""
        steps = run.effective.steps
        while run.row.position < len(steps):
            run.check()
            batch = _transactions(steps, run.row.position)
            if batch:
                await self._transact(run, batch)
            else:
                await self._act(run, steps[run.row.position])

    async def _transact(self, run: Run, batch: list[TransactionStep[Struct, Struct]]) -> None:
        """Neighbouring transaction steps and the journal's entry, in one commit."""
        workflow = run.row.workflow
        position = run.row.position + len(batch)

        def fn(tx: Tx) -> tuple[dict[str, object], int]:
            epoch = self._begun(tx, run)  # first: what a step finds may be another node's doing
            data = dict(run.data)
            for step in batch:
                run.at = step
                self._probe.doing(workflow, step)
                made = step.do(tx, fill(step.input, data))
                self._probe.done(workflow, step)
                _merge(data, made)
            run.at = None
            self._enter(tx, run, position, data, epoch)
            return data, epoch

        own = all(step.own_rows for step in batch)
        run.data, epoch = await self._journal(run, fn, position, own=own)
        run.row = replace(run.row, epoch=epoch)
        run.note, run.fraction = "", 0.0

    async def _act(self, run: Run, step: AnyStep) -> None:
        """One action, and its entry; that may wait for the next entry where a repetition of the action is all it costs."""
        assert isinstance(step, ActionStep)
        position = run.row.position
        if not run.persisted:

            def fn(tx: Tx) -> int:
                epoch = self._begun(tx, run)
                self._enter(tx, run, position, run.data, epoch)
                return epoch

            run.row = replace(run.row, epoch=await self._journal(run, fn, position, own=True))
            run.check()
        made = await self._surely(run, step, fill(step.input, run.data))
        data = dict(run.data)
        _merge(data, made)
        if entry_can_wait(run.effective.steps, run.noted, position + 1):
            run.row = replace(run.row, position=position + 1)
        else:
            await self._journal(
                run, lambda tx: self._enter(tx, run, position + 1, data, run.row.epoch), position + 1, own=True
            )
        run.data = data
        run.note, run.fraction = "", 0.0

    async def _surely(self, run: Run, step: ActionStep[Struct, Struct], given: Struct) -> Struct:
        """Run an action; once more if a node went that worked for it, as after a crash of this one.

        Once more as well if an agent took this node for one that has lost the run, and it has not.
        """
        for _ in range(_NODES_LOST):
            try:
                return await self._action(run, step, given)
            except CairnError as error:
                if is_refused(error):
                    await renew(run, self._store, self._owners)
                elif error.code not in _NODE_LOST:
                    raise
                _log.warning("workflow.node-lost", workflow=run.row.workflow, run=run.row.uuid, error=str(error))
            await self._clock.sleep(_NODE_LOST_SECONDS)  # until the ring knows it
            await self._end_inner(run)
            run.check()
        return await self._action(run, step, given)

    async def _do(self, run: Run, step: ActionStep[Struct, Struct], given: Struct) -> Struct:
        self._probe.doing(run.row.workflow, step)
        made = await step.do(given)
        for _ in range(self._probe.times(step) - 1):
            made = await step.do(given)
        self._probe.done(run.row.workflow, step)
        return made

    async def _action(self, run: Run, step: ActionStep[Struct, Struct], given: Struct) -> Struct:
        """Run an action in the run's turn, in such a way that `Run.cancel` cancels it and leaves journal writes alone."""
        task = run.action = asyncio.current_task()
        assert task is not None
        try:
            with entered(current().fenced(fence_of(run))):
                return await self._do(run, step, given)
        except asyncio.CancelledError:
            if run.cancelled:
                task.uncancel()  # it was meant for the action; the task goes on with its undo
            raise
        finally:
            run.action = None

    def _begun(self, tx: Tx, run: Run) -> int:
        """The epoch in which a run was begun; now, if it has no row yet."""
        return run.row.epoch if run.persisted else self._owners.begin(tx, run.begins)

    def _enter(self, tx: Tx, run: Run, position: int, data: dict[str, object], epoch: int) -> None:
        """The journal's entry after a step; behind the last one the run's end."""
        row = run.row
        if position == len(row.steps):
            self._conclude(tx, run, data)
        elif run.persisted:
            change(tx, FlowRun, row.claim, position=position, data=encode_data(data), last_op_date=tx.now)
        else:
            tx.insert(replace(row, position=position, data=encode_data(data), epoch=epoch, last_op_date=tx.now))

    def _conclude(self, tx: Tx, run: Run, data: dict[str, object]) -> None:
        if run.persisted:
            remove(tx, FlowRun, run.row.claim)
        if run.row.concludes and run.row.job_uuid is not None:
            self._finish(tx, JobId(run.row.job_uuid), conclusion(fill(run.effective.workflow.answer, data)))

    async def _journal(self, run: Run, fn: Callable[[Tx], T], position: int | None = None, *, own: bool = False) -> T:
        """Write, and only when that is durable believe it: `position` is where the run stands then.

        Args:
            own: nothing but rows of the run, its job and its resource are written.
        """
        self._probe.journal(run.row.workflow, "before")
        result = await self._store.write(fn, own=run.row.uuid if own else None)
        run.persisted = True
        if position is not None:
            run.row = replace(run.row, position=position)
            run.noted, run.reach = position, 0
        self._probe.journal(run.row.workflow, "after")
        return result

    # -- backward ---------------------------------------------------------------------------------------------------

    async def begin_undo(self, run: Run, error: CairnError) -> bool:
        """Undo all that a run did, because of `error`. Returns whether nothing is left."""
        if not run.persisted:
            return True
        await self._end_inner(run)
        left = [index for index in run.row.undo_left if index < run.begun]
        row = replace(run.row, state=RunState.UNDOING, undo_left=left, error=error.record())

        def fn(tx: Tx) -> None:
            change(
                tx,
                FlowRun,
                row.claim,
                state=row.state,
                position=row.position,
                data=encode_data(run.data),
                undo_left=row.undo_left,
                error=row.error,
                last_op_date=tx.now,
            )

        run.row = row
        await self._journal(run, fn)
        return await self.undo(run)

    async def undo(self, run: Run) -> bool:
        """Undo what is left of a run whose undo has begun. Returns whether nothing is left."""
        failed: list[int] = []
        errors: dict[str, str] = {}
        left = list(run.row.undo_left)
        while left:
            index = left.pop(0)
            step = run.effective.steps[index]
            if step.undone_last and failed:
                failed.append(index)
                errors[step.name] = "It waits until the others are undone: they need what it wrote."
                continue
            try:
                await self._undo_step(run, index, [*left, *failed], errors)
            except (Exception, asyncio.CancelledError) as error:
                if not _is_of_the_undo(error):
                    raise
                known = error if isinstance(error, CairnError) else internal(f"undo of {step.name}", error)
                _log.warning("workflow.undo-failed", workflow=run.row.workflow, step=step.name, error=str(known))
                failed.append(index)
                errors[step.name] = str(known)
        await self._end_undo(run, failed, errors)
        return not failed

    async def _undo_step(self, run: Run, index: int, left: list[int], errors: dict[str, str]) -> None:
        step = run.effective.steps[index]
        self._probe.undoing(run.row.workflow, step)
        given = fill(step.input, run.data)
        made = fill(step.output, run.data) if index < run.row.position else None
        if isinstance(step, TransactionStep):

            def fn(tx: Tx) -> None:
                step.undo(tx, given, made)
                self._note_undo(tx, run, left, errors)

            await self._journal(run, fn)
            return
        try:
            await self._undo_action(run, step, given, made)
        except CairnError as error:
            if not is_refused(error):
                raise
            await renew(run, self._store, self._owners)
            await self._undo_action(run, step, given, made)
        await self._journal(run, lambda tx: self._note_undo(tx, run, left, errors))

    async def _undo_action(
        self, run: Run, step: ActionStep[Struct, Struct], given: Struct, made: Struct | None
    ) -> None:
        until = self._clock.monotonic() + self._undo_seconds
        context = CallContext(
            job=JobId(run.row.job_uuid) if run.row.job_uuid else None,
            stack=(run.row.workflow, f"undo {step.name}"),
            deadline=until,
            actor=run.row.actor,
            fence=fence_of(run),
        )
        with entered(context):
            await limit(self._wheel, until, f"undo of {step.name}", step.undo(given, made))

    def _note_undo(self, tx: Tx, run: Run, left: list[int], errors: dict[str, str]) -> None:
        change(tx, FlowRun, run.row.claim, undo_left=left, undo_errors=errors, last_op_date=tx.now)

    async def _end_undo(self, run: Run, failed: list[int], errors: dict[str, str]) -> None:
        def fn(tx: Tx) -> None:
            if failed:
                state = RunState.UNDO_FAILED
                change(
                    tx, FlowRun, run.row.claim, state=state, undo_left=failed, undo_errors=errors, last_op_date=tx.now
                )
            else:
                remove(tx, FlowRun, run.row.claim)

        await self._journal(run, fn)
        run.row = replace(run.row, state=RunState.UNDO_FAILED if failed else RunState.UNDOING, undo_left=failed)

    async def undo_in_database(self, run: Run) -> None:
        """Undo those of the steps that are left which only write to the database, as far as they can be."""
        for index in run.row.undo_left:
            if isinstance(run.effective.steps[index], TransactionStep):
                try:
                    await self._undo_step(run, index, list(run.row.undo_left), run.row.undo_errors)
                except Exception as error:
                    if is_not_ours(error):
                        raise  # else an operator gets rid of the run, whatever is wrong with the step
                    _log.warning(
                        "workflow.undo-given-up", workflow=run.row.workflow, run=run.row.uuid, error=str(error)
                    )

    async def park(self, row: FlowRun, error: CairnError, reach: int) -> None:
        """Write down that a run can be taken neither forward nor back now; its undo is left to do.

        Args:
            reach: how many of its steps may have been begun, if it still goes forward.
        """
        left = row.undo_left or list(range(len(row.steps) - 1, -1, -1))
        if row.state is RunState.RUNNING:
            left = [index for index in left if index < reach]
        record: ErrorRecord = row.error or error.record()

        def fn(tx: Tx) -> None:
            change(
                tx,
                FlowRun,
                row.claim,
                state=RunState.UNDO_FAILED,
                undo_left=left,
                undo_errors={row.workflow: str(error)},
                error=record,
                last_op_date=tx.now,
            )

        await self._store.write(fn)


def _merge(data: dict[str, object], made: Struct) -> None:
    for name in made.__struct_fields__:
        data[name] = getattr(made, name)


def _transactions(steps: tuple[AnyStep, ...], position: int) -> list[TransactionStep[Struct, Struct]]:
    batch: list[TransactionStep[Struct, Struct]] = []
    for step in steps[position:]:
        if not isinstance(step, TransactionStep):
            break
        batch.append(step)
    return batch


def is_not_ours(error: BaseException) -> bool:
    """Whether `error` says that this node must do nothing more for a run."""
    return isinstance(error, CairnError) and error.code in _NOT_OURS


def _is_of_the_undo(error: BaseException) -> bool:
    """Whether `error` is a failing undo, rather than the end of this node's work on the run."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or not task.cancelling()
    return not is_not_ours(error)
