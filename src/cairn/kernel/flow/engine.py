"""The engine that runs workflows, undoes them, and takes them up again after a crash.

Who owns what
    A run is owned by a task of the engine, not by its caller: when the caller is cancelled (deadline, cancel, client gone)
    the running step is cancelled and the steps before it are undone before the caller gets its `CancelledError`, so that a
    place in a resource queue is never given away while an undo still works on the resource. That holds for a run that was
    taken up again as well; one that still waits for its place keeps waiting, since only there it can be undone.

What the journal knows
    Neighbouring `TransactionStep`s run in one transaction together with the journal's entry. An `ActionStep` begins only
    when the journal already names the run, and is entered when it is done. So after a crash the step at `position` may
    have been started, and no later one. Recovery goes forward from there, which runs that step a second time.
    Once undo begins the journal says so first; recovery then goes on undoing.

Runs inside runs
    A step may run a workflow of its own (`parent_uuid`). After a crash inner runs are taken up first. An outer one goes on
    with the step that had started the inner one, unless something of the inner one could not be undone: what is tried again
    later must not meet a second making of the same things, so the outer one is undone, too.

The end
    The last entry removes the row and, for the run that a job's own handler started, records the job's answer in the same
    transaction: a job is never seen as open with its work done, nor as done with its work open.

The place
    A run keeps its place in the resource queue until it has ended. While its undo cannot be written down (the disk is full) that
    is tried again in the place. After a crash `restore` takes the places of all runs in the journal before anything else may
    ask for one, so that nothing that had waited overtakes what is half done.

Failed undo
    A failing undo does not stop the others. The rest is written down and tried again every `retry_seconds`, until it
    succeeds or an operator settles it (`settle`). What comes next in that queue has it tried first.
    A step that is not there any more (a plugin was taken out) is such a rest, if there is something to undo in it.

Where it is
    `Runner` owns the tasks and takes a run to its end; `Executor` does its steps and writes the journal; `Owed` knows the undos
    that failed; `Places` keeps what `restore` took. The engine begins runs, and takes up those of a former process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from cairn.kernel.api import ApiCommand
from cairn.kernel.bus.context import current, entered
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, internal
from cairn.kernel.flow.errors import cancelled, pending
from cairn.kernel.flow.executor import Executor, Finisher
from cairn.kernel.flow.journal import FlowRun, RunHead, RunState, fill
from cairn.kernel.flow.loading import load, may_have_begun
from cairn.kernel.flow.owed import Owed
from cairn.kernel.flow.places import Places
from cairn.kernel.flow.run import RUN, FlowProbe, Run, context_of, report_progress
from cairn.kernel.flow.runner import Runner
from cairn.kernel.flow.workflow import AnyWorkflow, Asked, M, Workflow, WorkflowBook, conclusion
from cairn.kernel.guard import Guards
from cairn.kernel.ids import IdSource, JobId
from cairn.kernel.ownership import Ownership
from cairn.kernel.queue import ResourceQueues, kind_of, queue_key, resource_of
from cairn.kernel.store.store import Store, Tx

__all__ = ["Finisher", "FlowEngine", "FlowProbe", "Run", "report_progress"]

P = TypeVar("P", bound=Struct)
A = TypeVar("A", bound=Struct)
T = TypeVar("T")

_log = structlog.get_logger("cairn.flow")
#: between two looks at what another node still works on
_LOOK_SECONDS = 1.0


class FlowEngine:
    """Runs workflows.

    Args:
        book: the effective lists.
        finish: records a job's answer inside the transaction that ends its run.
        owners: whose the runs are.
        retry_seconds: between two tries of an undo that failed.
        undo_seconds: that one undo of an action step may take.
        probe: for tests.
        guards: may veto a call when its turn has come.
    """

    def __init__(
        self,
        *,
        store: Store,
        book: WorkflowBook,
        clock: Clock,
        ids: IdSource,
        queues: ResourceQueues,
        finish: Finisher,
        owners: Ownership,
        retry_seconds: Callable[[], float],
        undo_seconds: float = 300.0,
        probe: FlowProbe | None = None,
        guards: Guards | None = None,
    ) -> None:
        self.book = book
        self._guards = guards or Guards()
        self._store = store
        self._clock = clock
        self._ids = ids
        self._queues = queues
        self._owners = owners
        self._executor = Executor(
            store=store,
            clock=clock,
            finish=finish,
            owners=owners,
            undo_seconds=undo_seconds,
            probe=probe or FlowProbe(),
            end_inner=lambda run: self._end_inner(run),
        )
        self._runner = Runner(self._executor, clock, later=lambda row: self._owed.later(row))
        self._owed = Owed(
            store=store,
            book=book,
            clock=clock,
            executor=self._executor,
            runner=self._runner,
            in_turn=self._in_turn,
            retry_seconds=retry_seconds,
            take_up=self._quietly,
            node=owners.node,
        )
        self._places = Places(queues)  #: of runs that a former process left, and of those of other nodes
        self._parallelism: dict[str, Callable[[], int] | int] = {}  #: of queues, by the key's kind

    # -- what services call ------------------------------------------------------------------------------------

    async def run(
        self,
        workflow: Workflow[P, A],
        parameters: P,
        *,
        queue: str | None = None,
        parallelism: Callable[[], int] | int = 1,
        unless: Callable[[Tx], A | None] | None = None,
    ) -> A:
        """Run a workflow to its end.

        Args:
            queue: the resource queue to take a place in; None if the caller holds one already.
            parallelism: of that queue.
            unless: looked at first, in the queue; an answer from it ends the call without doing anything.

        Raises:
            CairnError: what the failing step raised, once everything was undone. When an undo failed too, the error's
                details name the run in ``undoPending``. ``workflow.undo-pending`` when something of a former run in
                that queue can still not be undone. ``workflow.stopped`` when the node goes down.
        """

        async def work() -> A:
            if unless is not None and (answer := await self._store.look(unless)) is not None:
                return answer
            if queue is not None:
                await self._owed.first(queue)
            run = self._new(workflow, parameters, queue)
            await self._runner.owned(run, self._runner.go(run))
            return fill(workflow.answer, run.data)  # type: ignore[return-value]

        if queue is None:
            return await work()
        self._parallelism[kind_of(queue)] = parallelism
        return await self._queues.run(queue, work, name=workflow.name, parallelism=parallelism)

    async def perform(self, workflow: Workflow[Asked[M], Any], message: M) -> Struct | None:
        """Run the workflow of a call, in its turn in the queue of the resource that the call is about. Raises as `run`."""
        key = getattr(message, message.route or "")
        veto = self._guards.question(message, current().actor)
        unless = None if workflow.unless is None and veto is None else partial(_at_first, workflow, message, key, veto)
        asked = Asked(uuid=key, account=current().actor or "", asked=message)
        return conclusion(await self.run(workflow, asked, queue=queue_key(workflow.queue or "", key), unless=unless))

    def handler(self, workflow: AnyWorkflow) -> Callable[[ApiCommand[object]], Awaitable[Struct | None]]:
        """The handler that runs `workflow` for its call, for calls that no service handles itself."""
        return partial(self.perform, workflow)

    def progress(self, job: JobId) -> Run | None:
        """The outermost run that works for `job` now."""
        return self._runner.outermost(job)

    # -- life ---------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Drop all runs where they stand; the next start takes them up again. Safe to repeat."""
        await self._runner.stop()

    def keep(self, rows: Sequence[RunHead]) -> None:
        """Keep the places of runs that another node works on, or did until it died. Safe to repeat.

        Call it before this node begins anything in their queues; `leave` gives the places back.
        """
        self._places.take(rows)

    def leave(self, uuid: str) -> None:
        """Give the place back that was kept for another node's run, which is gone. Safe to repeat."""
        self._places.leave(uuid)

    def adopt(self, rows: Sequence[RunHead]) -> frozenset[str]:
        """Take the places of runs that are this node's now, and learn which undos are owed. Before anything else begins.

        Returns:
            The jobs that the runs work for which are to be taken up.
        """
        left = [row for row in rows if row.state is not RunState.UNDO_FAILED]
        for row in rows:
            if row.state is RunState.UNDO_FAILED:
                self._owed.note(row)
                self._places.leave(row.uuid)
        self._places.take(left)
        return frozenset(row.job_uuid for row in left if row.job_uuid is not None)

    async def recover(self, job: JobId | None, *, cancel: bool = False) -> None:
        """Take up every run that works for `job` (None: those of no job), inner ones first.

        Runs of it that other nodes still work on end first.

        Args:
            cancel: somebody has asked for an end: they are undone.

        Raises:
            CairnError: what the outermost run failed with, once it was undone, or ``workflow.undo-pending`` if something
                is still to be undone.
        """
        await self._take_up(await self._here(job), cancel=cancel)

    async def _here(self, job: JobId | None) -> list[FlowRun]:
        """The runs of a job, once none of them is at work on another node."""
        while True:
            rows = await self._store.read(lambda tx: tx.find(FlowRun, job_uuid=job))
            if not any(self._is_at_work_elsewhere(row) for row in rows):
                return rows
            await self._clock.sleep(_LOOK_SECONDS)

    def _is_at_work_elsewhere(self, row: FlowRun) -> bool:
        return row.node_uuid != self._owners.node and row.state is not RunState.UNDO_FAILED

    async def recover_orphans(self, uuids: Collection[str] | None = None) -> None:
        """Take up, in the background, the runs of no job and the undos that failed.

        Args:
            uuids: only these; None: all that are this node's.
        """
        rows = await self._store.read(lambda tx: tx.find(FlowRun, node_uuid=self._owners.node))
        there = {row.uuid for row in rows}
        for row in rows:
            if uuids is not None and row.uuid not in uuids:
                continue
            if row.state is RunState.UNDO_FAILED:
                self._owed.later(row)
            elif row.job_uuid is None and row.parent_uuid not in there:
                self._runner.spawn(self._quietly(row), f"recover {row.workflow}", Context())

    def release(self, uuid: str) -> bool:
        """Let another node have an undo that is owed. False: it is being tried now."""
        return self._owed.release(uuid)

    async def _end_inner(self, run: Run) -> None:
        """Have the runs that steps of `run` started on other nodes end, before it is undone itself.

        Those of a node that died have become this node's, and are undone.
        """
        while left := await self._inner(run):
            if any(row.node_uuid != self._owners.node for row in left):
                await self._clock.sleep(_LOOK_SECONDS)
                continue
            with suppress(CairnError):  # what cannot be undone now is owed
                await self._take_up(left, cancel=True)

    async def _inner(self, run: Run) -> list[FlowRun]:
        """The runs inside of `run` that no task of this node works on, and that are not owed."""
        rows = await self._store.read(lambda tx: tx.find(FlowRun, job_uuid=run.row.job_uuid))
        outside = {run.row.uuid, *self._runner.live}
        inner = [row for row in _tree(rows, run.row.uuid) if row.uuid not in outside]
        return [row for row in inner if row.state is not RunState.UNDO_FAILED]

    async def retry(self, uuid: str) -> bool:
        """Try a failed undo again, now. Returns whether nothing is left of it.

        Raises:
            CairnError: ``workflow.still-running`` when it is under way; ``workflow.step-gone`` and ``workflow.not-found``
                when its steps or its workflow are not there.
        """
        return await self._owed.retry(uuid)

    async def settle(self, uuid: str) -> None:
        """Forget a run that an operator has cleaned up after by hand. Does nothing if there is no such run.

        What is left of it in the database (a state, a claim) is undone before, so that nothing stays in between.

        Raises:
            CairnError: ``workflow.still-running``.
        """
        await self._owed.settle(uuid)

    # -- one run ----------------------------------------------------------------------------------------------------

    def _new(self, workflow: AnyWorkflow, parameters: Struct, queue: str | None) -> Run:
        effective = self.book.effective(workflow.name)
        context = current()
        outer = RUN.get()
        now = self._clock.now()
        data = {name: getattr(parameters, name) for name in parameters.__struct_fields__}
        row = FlowRun(
            uuid=self._ids.new(),
            node_uuid=self._owners.node,
            job_uuid=context.job,
            parent_uuid=outer.row.uuid if outer else context.parent,
            workflow=workflow.name,
            queue_key=queue or (outer.row.queue_key if outer else None),
            actor=context.actor,
            concludes=context.job is not None and context.parent is None and len(context.stack) <= 1,
            steps=[step.name for step in effective.steps],
            undo_left=list(effective.undo_order),
            data=b"",
            create_date=now,
            last_op_date=now,
        )
        begins = None if queue is None else resource_of(queue)
        return Run(effective, row, data, persisted=False, begins=begins)

    # -- again --------------------------------------------------------------------------------------------------------

    async def _take_up(self, rows: Sequence[FlowRun], *, cancel: bool) -> None:
        """Take up runs that belong together, inner ones first, whatever becomes of each."""
        there = {row.uuid for row in rows}
        doomed: dict[str, CairnError] = {}  # outer runs that must not go on
        outcome: BaseException | None = None
        for row in _inner_first(rows):
            if row.uuid in self._runner.live:
                continue
            reason = doomed.get(row.uuid) or (cancelled(row) if cancel else None)
            try:
                await self._resume(row, reason)
            except CairnError as error:
                if row.parent_uuid is None or row.parent_uuid not in there:
                    outcome = outcome or error
                elif "undoPending" in error.details:
                    doomed[row.parent_uuid] = error
            except asyncio.CancelledError as error:
                if self._runner.stopping:
                    raise
                cancel, outcome = True, error
        if outcome is not None:
            raise outcome

    async def _resume(self, row: FlowRun, reason: CairnError | None) -> None:
        if row.state is RunState.UNDO_FAILED:
            self._owed.later(row)
            raise pending(row)
        run = await self._loaded(row)
        if reason is not None:
            run.cancel(reason)
        _log.info("workflow.resumed", workflow=row.workflow, run=row.uuid, state=row.state, position=row.position)
        with entered(context_of(row)):
            await self._runner.owned(run, self._in_its_place(run))

    async def _in_its_place(self, run: Run) -> None:
        """Go on with a run that a former process left: in the place that was kept for it, or else in its turn."""
        row = run.row
        place = self._places.of(row)
        if place is None:
            await self._in_turn(row.queue_key, f"resume {row.workflow}", lambda: self._runner.go(run))
            return
        try:
            await place.run(lambda: self._runner.go(run))
        finally:
            if not self._runner.stopping:
                self._places.leave(row.uuid)

    async def _loaded(self, row: FlowRun) -> Run:
        """The run of a row. One that cannot be read is left to be undone when it can."""
        try:
            return load(self.book, row)
        except Exception as error:  # a plugin has changed; the node must go on
            known = error if isinstance(error, CairnError) else internal(f"reading a run of {row.workflow}", error)
            _log.error("workflow.unreadable", workflow=row.workflow, run=row.uuid, error=str(known))
            await self._executor.park(row, known, may_have_begun(self.book, row))
            self._owed.later(row)
            self._places.leave(row.uuid)
            known.details["undoPending"] = row.uuid
            raise known from error

    def _in_turn(
        self, key: str | None, name: str, work: Callable[[], Coroutine[object, object, T]]
    ) -> Coroutine[object, object, T]:
        """`work` in its place in the resource queue `key`, if it has one."""
        if key is None:
            return work()
        return self._queues.run(key, work, name=name, parallelism=self._parallelism.get(kind_of(key)))

    async def _quietly(self, row: FlowRun) -> None:
        """Take up a run of no job and all inside of it. One that cannot be brought to an end is tried again in a while."""
        try:
            rows = await self._here(None)
            await self._take_up(_tree(rows, row.uuid), cancel=False)
        except Exception as error:  # noqa: BLE001 (nobody waits for it; it must not be lost)
            _log.info("workflow.recovered-failed", run=row.uuid, error=str(error))
            self._owed.later(row)


def _inner_first(rows: Sequence[FlowRun]) -> list[FlowRun]:
    """Each run behind those that its steps started; else the newest first."""
    by_uuid = {row.uuid: row for row in rows}

    def depth(row: FlowRun) -> int:
        outer = by_uuid.get(row.parent_uuid or "")
        return 0 if outer is None else 1 + depth(outer)

    return sorted(rows, key=lambda row: (depth(row), row.create_date), reverse=True)


def _tree(rows: Sequence[FlowRun], root: str) -> list[FlowRun]:
    """A run and all inside of it."""
    inside = {root}
    for _ in rows:
        more = {row.uuid for row in rows if row.parent_uuid in inside}
        if more <= inside:
            break
        inside |= more
    return [row for row in rows if row.uuid in inside]


def _at_first(
    workflow: Workflow[Asked[M], Any], message: M, key: str, veto: Callable[[Tx], None] | None, tx: Tx
) -> Struct | None:
    """The workflow's answer if its `unless` says that there is nothing to do, else None. Raises what a guard raises."""
    if workflow.unless is not None and workflow.unless(tx, message):
        return fill(workflow.answer, {"uuid": key})
    if veto is not None:
        veto(tx)
    return None
