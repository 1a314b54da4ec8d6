"""The engine that runs workflows, undoes them, and takes them up again after a crash.

Who owns what
    A run is owned by a task of the engine, not by its caller: when the caller is cancelled (deadline, cancel, client gone)
    the running step is cancelled and the steps before it are undone before the caller gets its `CancelledError`, so that a
    place in a resource queue is never given away while an undo still works on the resource.

What the journal knows
    Neighbouring `TransactionStep`s run in one transaction together with the journal's entry. An `ActionStep` begins only
    when the journal already names the run, and is entered when it is done. So after a crash the step at `position` may
    have been started, and no later one. Recovery goes forward from there, which runs that step a second time.
    Once undo begins the journal says so first; recovery then goes on undoing.

The end
    The last entry removes the row and, for the run that a job's own handler started, records the job's answer in the same
    transaction: a job is never seen as open with its work done, nor as done with its work open.

Failed undo
    A failing undo does not stop the others. What is left is written down and tried again every `retry_seconds`, until it
    succeeds or an operator settles it (`settle`).
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TypeVar

import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord, from_record, internal
from cairn.kernel.flow.journal import FlowRun, RunState, decode_data, encode_data, fill
from cairn.kernel.flow.step import ActionStep, AnyStep, TransactionStep
from cairn.kernel.flow.workflow import Plan, Workflow, WorkflowBook, conclusion
from cairn.kernel.ids import IdSource, JobId
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx

P = TypeVar("P", bound=Struct)
A = TypeVar("A", bound=Struct)
T = TypeVar("T")

Finisher = Callable[[Tx, JobId, object], None]
Fence = Callable[[Tx], int]

_log = structlog.get_logger("cairn.flow")


class FlowProbe:
    """Where a test looks into the engine and breaks things; the default does nothing."""

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

    def __init__(self, plan: Plan, row: FlowRun, data: dict[str, object], *, persisted: bool) -> None:
        self.plan = plan
        self.row = row
        self.data = data
        self.persisted = persisted
        self.cancelled = False
        self.action: asyncio.Task[None] | None = None
        self.note = ""
        self.fraction = 0.0

    def cancel(self) -> None:
        """Stop going forward; the step that runs now is cancelled."""
        self.cancelled = True
        if self.action is not None and self.row.state is RunState.RUNNING:
            self.action.cancel()

    @property
    def percent(self) -> int:
        """How far it is, 0 to 99."""
        return min(99, int(100 * (self.row.position + self.fraction) / len(self.row.steps)))

    @property
    def title(self) -> str:
        """What is being done now, for people."""
        if self.row.state is not RunState.RUNNING:
            return "undoing what was done"
        step = self.plan.steps[min(self.row.position, len(self.plan.steps) - 1)]
        return f"{step.title}: {self.note}" if self.note else step.title


_run: ContextVar[Run | None] = ContextVar("cairn_flow_run", default=None)


def report_progress(note: str, fraction: float) -> None:
    """Tell how far the step that runs now is.

    Args:
        note: what is being done, for people.
        fraction: of this step, 0.0 to 1.0.
    """
    run = _run.get()
    if run is not None:
        run.note, run.fraction = note, max(0.0, min(1.0, fraction))


class FlowEngine:
    """Runs workflows.

    Args:
        book: the effective lists.
        finish: records a job's answer inside the transaction that ends its run.
        fence: raises when this node is no member of the ring any more, gives the epoch otherwise.
        retry_seconds: between two tries of an undo that failed.
        undo_seconds: that one undo of an action step may take.
        probe: for tests.
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
        fence: Fence,
        retry_seconds: Callable[[], float],
        undo_seconds: float = 300.0,
        probe: FlowProbe | None = None,
    ) -> None:
        self.book = book
        self._store = store
        self._clock = clock
        self._ids = ids
        self._queues = queues
        self._finish = finish
        self._fence = fence
        self._retry_seconds = retry_seconds
        self._undo_seconds = undo_seconds
        self._probe = probe or FlowProbe()
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False

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
            queue: the resource queue to take a place in; None when the caller holds one already.
            parallelism: of that queue.
            unless: looked at first, in the queue; an answer from it ends the call without doing anything.

        Raises:
            CairnError: what the failing step raised, once everything was undone. When an undo failed too, the error's
                details name the run in ``undoPending``.
        """

        async def work() -> A:
            if unless is not None and (answer := await self._store.read(unless)) is not None:
                return answer
            return await self._own(self._new(workflow, parameters, queue), workflow.answer)

        if queue is None:
            return await work()
        return await self._queues.run(queue, work, name=workflow.name, parallelism=parallelism)

    def progress(self, job: JobId) -> Run | None:
        """The outermost run that works for `job` now."""
        return self._runs.get(job)

    # -- life ---------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Drop all runs where they stand; the next start takes them up again."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def recover(self, job: JobId | None) -> None:
        """Take up every run that works for `job` (None: those of no job), inner ones first.

        Raises:
            CairnError: what the outermost run failed with, once it was undone.
        """
        rows = await self._store.read(
            lambda tx: tx.find(FlowRun, job_uuid=job, order_by="create_date", descending=True)
        )
        outer: CairnError | None = None
        for row in sorted(rows, key=lambda row: row.parent_uuid is None):
            if row.state is RunState.UNDO_FAILED:
                self._later(row.uuid)
                continue
            try:
                await self._resume(row)
            except CairnError as error:
                outer = error if row.parent_uuid is None else outer
        if outer is not None:
            raise outer

    async def recover_orphans(self) -> None:
        """Take up, in the background, the runs of no job and the undos that failed."""
        rows = await self._store.read(lambda tx: tx.find(FlowRun))
        for row in rows:
            if row.state is RunState.UNDO_FAILED:
                self._later(row.uuid)
            elif row.job_uuid is None and row.parent_uuid is None:
                self._spawn(self._quietly(row), f"recover {row.workflow}")

    async def retry(self, uuid: str) -> bool:
        """Try a failed undo again, now. Returns whether nothing is left of it."""
        row = await self._store.read(lambda tx: tx.get(FlowRun, uuid))
        if row is None:
            return True
        if row.state is not RunState.UNDO_FAILED:
            raise CairnError(
                "workflow.still-running",
                f"The run {uuid} of {row.workflow} is {row.state.value}; only one whose undo failed can be tried again.",
                kind=ErrorKind.CONFLICT,
            )
        run = self._load(row)

        async def work() -> bool:
            return await self._undo_all(run, row.error)

        if row.queue_key is None:
            return await work()
        return await self._queues.run(row.queue_key, work, name=f"undo {row.workflow}")

    async def settle(self, uuid: str) -> None:
        """An operator has put right what an undo could not: forget the run. Unknown: nothing to do."""
        await self._store.write(lambda tx: tx.delete_where(FlowRun, uuid=uuid, state=RunState.UNDO_FAILED))

    # -- forward --------------------------------------------------------------------------------------------------

    def _new(self, workflow: Workflow[P, A], parameters: P, queue: str | None) -> Run:
        plan = self.book.plan(workflow.name)
        context = current()
        outer = _run.get()
        now = self._clock.now()
        data = {name: getattr(parameters, name) for name in parameters.__struct_fields__}
        row = FlowRun(
            uuid=self._ids.new(),
            job_uuid=context.job,
            parent_uuid=outer.row.uuid if outer else None,
            workflow=workflow.name,
            queue_key=queue,
            actor=context.actor,
            concludes=context.job is not None and outer is None and len(context.stack) <= 1,
            steps=[step.name for step in plan.steps],
            data=b"",
            create_date=now,
            last_op_date=now,
        )
        return Run(plan, row, data, persisted=False)

    def _load(self, row: FlowRun) -> Run:
        plan = self.book.plan(row.workflow)
        steps = tuple(self.book.step(name) for name in row.steps)
        plan = Plan(workflow=plan.workflow, entries=plan.entries, steps=steps, types=_all_types(plan, steps))
        return Run(plan, row, decode_data(row.data, plan.types), persisted=True)

    async def _own(self, run: Run, answer: type[A]) -> A:
        task = self._spawn(self._go(run), f"flow {run.row.workflow}")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                run.cancel()
                await _settled(task)
            raise
        return fill(answer, run.data)  # type: ignore[return-value]

    async def _go(self, run: Run) -> None:
        token = _run.set(run)
        job = run.row.job_uuid
        if job is not None and run.row.parent_uuid is None:
            self._runs[job] = run
        try:
            await self._forward(run)
        except (Exception, asyncio.CancelledError) as error:
            if self._stopping:
                raise
            known = _known(error, run)
            _log.info("workflow.failed", workflow=run.row.workflow, run=run.row.uuid, code=known.code, error=str(known))
            if not await self._begin_undo(run, known):
                known.details["undoPending"] = run.row.uuid
            if isinstance(error, asyncio.CancelledError):
                raise
            raise known from error
        finally:
            _run.reset(token)
            if job is not None and self._runs.get(job) is run:
                del self._runs[job]

    async def _forward(self, run: Run) -> None:
        steps = run.plan.steps
        while run.row.position < len(steps):
            if run.cancelled:
                raise asyncio.CancelledError
            batch = _transactions(steps, run.row.position)
            if batch:
                await self._transact(run, batch)
            else:
                await self._act(run, steps[run.row.position])

    async def _transact(self, run: Run, batch: list[TransactionStep[Struct, Struct]]) -> None:
        """Neighbouring transaction steps and the journal's entry, in one commit."""
        workflow = run.row.workflow
        position = run.row.position + len(batch)

        def fn(tx: Tx) -> dict[str, object]:
            data = dict(run.data)
            for step in batch:
                self._probe.doing(workflow, step)
                made = step.do(tx, fill(step.input, data))
                self._probe.done(workflow, step)
                _merge(data, made)
            self._enter(tx, run, position, data)
            return data

        run.data = await self._journal(run, fn, position)

    async def _act(self, run: Run, step: AnyStep) -> None:
        assert isinstance(step, ActionStep)
        position = run.row.position
        if not run.persisted:
            await self._journal(run, lambda tx: self._enter(tx, run, position, run.data), position)
        made = await self._action(run, self._do(run, step, fill(step.input, run.data)))
        data = dict(run.data)
        _merge(data, made)
        await self._journal(run, lambda tx: self._enter(tx, run, position + 1, data), position + 1)
        run.data = data
        run.note, run.fraction = "", 0.0

    async def _do(self, run: Run, step: ActionStep[Struct, Struct], given: Struct) -> Struct:
        self._probe.doing(run.row.workflow, step)
        made = await step.do(given)
        for _ in range(self._probe.times(step) - 1):
            made = await step.do(given)
        self._probe.done(run.row.workflow, step)
        return made

    async def _action(self, run: Run, work: Coroutine[object, object, T]) -> T:
        """Run an action in a task of its own, so that cancelling it leaves journal writes alone."""
        result: list[T] = []

        async def keep() -> None:
            result.append(await work)

        run.action = asyncio.ensure_future(keep())
        try:
            await run.action
        finally:
            if not run.action.done():
                run.action.cancel()
            run.action = None
        return result[0]

    def _enter(self, tx: Tx, run: Run, position: int, data: dict[str, object]) -> None:
        """The journal's entry after a step; behind the last one the run's end."""
        if position == len(run.row.steps):
            self._conclude(tx, run, data)
            return
        now = tx.now
        epoch = self._fence(tx)
        encoded = encode_data(data)
        if run.persisted:
            tx.update(FlowRun, run.row.uuid, position=position, data=encoded, epoch=epoch, last_op_date=now)
        else:
            tx.insert(replace(run.row, position=position, data=encoded, epoch=epoch, last_op_date=now))

    def _conclude(self, tx: Tx, run: Run, data: dict[str, object]) -> None:
        self._fence(tx)
        if run.persisted:
            tx.delete(FlowRun, run.row.uuid)
        if run.row.concludes and run.row.job_uuid is not None:
            answer = fill(run.plan.workflow.answer, data)
            self._finish(tx, JobId(run.row.job_uuid), conclusion(answer))

    async def _journal(self, run: Run, fn: Callable[[Tx], T], position: int | None = None) -> T:
        """Write, and only when that is durable believe it: `position` is where the run stands then."""
        self._probe.journal(run.row.workflow, "before")
        result = await self._store.write(fn)
        run.persisted = True
        if position is not None:
            run.row = replace(run.row, position=position)
        self._probe.journal(run.row.workflow, "after")
        return result

    # -- backward ---------------------------------------------------------------------------------------------------

    async def _begin_undo(self, run: Run, error: CairnError) -> bool:
        """Undo all that a run did. Returns whether nothing is left."""
        if not run.persisted:
            return True
        started = run.row.position
        steps = run.plan.steps
        if started < len(steps) and isinstance(steps[started], ActionStep):
            started += 1
        run.row = replace(run.row, state=RunState.UNDOING, undo_left=list(range(started - 1, -1, -1)))
        record = error.record()
        await self._undo_journal(run, record)
        return await self._undo_all(run, record)

    async def _undo_all(self, run: Run, error: ErrorRecord | None) -> bool:
        failed: list[int] = []
        errors: dict[str, str] = {}
        left = list(run.row.undo_left)
        context = CallContext(
            job=JobId(run.row.job_uuid) if run.row.job_uuid else None,
            stack=(f"undo {run.row.workflow}",),
            deadline=None,
            actor=run.row.actor,
        )
        while left:
            index = left.pop(0)
            step = run.plan.steps[index]
            try:
                with entered(context):
                    await self._undo(run, index, step, [*left, *failed], errors)
            except Exception as exception:  # noqa: BLE001 (a failing undo must not stop the others)
                known = exception if isinstance(exception, CairnError) else internal(f"undo of {step.name}", exception)
                _log.warning("workflow.undo-failed", workflow=run.row.workflow, step=step.name, error=str(known))
                failed.append(index)
                errors[step.name] = str(known)
        return await self._end_undo(run, failed, errors, error)

    async def _undo(self, run: Run, index: int, step: AnyStep, left: list[int], errors: dict[str, str]) -> None:
        if step.nothing_to_undo is not None:
            return
        self._probe.undoing(run.row.workflow, step)
        given = fill(step.input, run.data)
        made = fill(step.output, run.data) if index < run.row.position else None
        if isinstance(step, TransactionStep):

            def fn(tx: Tx) -> None:
                step.undo(tx, given, made)
                self._note_undo(tx, run, left, errors)

            await self._journal(run, fn)
            return
        async with asyncio.timeout(self._undo_seconds):
            await step.undo(given, made)
        run.row = replace(run.row, undo_left=left)
        await self._journal(run, lambda tx: self._note_undo(tx, run, left, errors))

    def _note_undo(self, tx: Tx, run: Run, left: list[int], errors: dict[str, str]) -> None:
        self._fence(tx)
        tx.update(FlowRun, run.row.uuid, undo_left=left, undo_errors=errors, last_op_date=tx.now)

    async def _undo_journal(self, run: Run, error: ErrorRecord) -> None:
        row = run.row

        def fn(tx: Tx) -> None:
            self._fence(tx)
            tx.update(FlowRun, row.uuid, state=row.state, undo_left=row.undo_left, error=error, last_op_date=tx.now)

        await self._journal(run, fn)

    async def _end_undo(self, run: Run, failed: list[int], errors: dict[str, str], error: ErrorRecord | None) -> bool:
        def fn(tx: Tx) -> None:
            self._fence(tx)
            if failed:
                tx.update(
                    FlowRun,
                    run.row.uuid,
                    state=RunState.UNDO_FAILED,
                    undo_left=failed,
                    undo_errors=errors,
                    error=error,
                    last_op_date=tx.now,
                )
            else:
                tx.delete(FlowRun, run.row.uuid)

        run.row = replace(run.row, state=RunState.UNDO_FAILED if failed else RunState.UNDOING, undo_left=failed)
        await self._journal(run, fn)
        if failed:
            self._later(run.row.uuid)
        return not failed

    # -- again --------------------------------------------------------------------------------------------------------

    async def _resume(self, row: FlowRun) -> None:
        run = self._load(row)
        context = CallContext(
            job=JobId(row.job_uuid) if row.job_uuid else None, stack=(row.workflow,), deadline=None, actor=row.actor
        )
        _log.info("workflow.resumed", workflow=row.workflow, run=row.uuid, state=row.state, position=row.position)

        async def work() -> None:
            if row.state is RunState.RUNNING:
                await self._own(run, run.plan.workflow.answer)
                return
            error = from_record(row.error) if row.error else internal("undo", RuntimeError("no error was recorded"))
            if not await self._own_undo(run, row.error):
                error.details["undoPending"] = row.uuid
            raise error

        with entered(context):
            if row.queue_key is None:
                await work()
            else:
                await self._queues.run(row.queue_key, work, name=f"resume {row.workflow}")

    async def _own_undo(self, run: Run, error: ErrorRecord | None) -> bool:
        result: list[bool] = []

        async def keep() -> None:
            result.append(await self._undo_all(run, error))

        await asyncio.shield(self._spawn(keep(), f"undo {run.row.workflow}"))
        return result[0]

    async def _quietly(self, row: FlowRun) -> None:
        try:
            await self._resume(row)
        except CairnError as error:
            _log.info("workflow.recovered-failed", workflow=row.workflow, run=row.uuid, error=str(error))

    def _later(self, uuid: str) -> None:
        """Try a failed undo again in a while."""
        if not self._stopping:
            self._spawn(self._try_again(uuid), f"undo again {uuid}")

    async def _try_again(self, uuid: str) -> None:
        await self._clock.sleep(self._retry_seconds())
        try:
            await self.retry(uuid)
        except CairnError as error:
            _log.warning("workflow.retry-failed", run=uuid, error=str(error))
            self._later(uuid)

    def _spawn(self, work: Coroutine[object, object, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


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


def _all_types(plan: Plan, steps: tuple[AnyStep, ...]) -> dict[str, object]:
    """Types of all fields, also of steps that are on the list no more."""
    types = dict(plan.types)
    for step in steps:
        for name, kind in typing.get_type_hints(step.output).items():
            types.setdefault(name, kind)
    return types


def _known(error: BaseException, run: Run) -> CairnError:
    """The error a run failed with, as something that can be kept and answered."""
    if isinstance(error, CairnError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return CairnError(
            "workflow.cancelled",
            f"{run.row.workflow} was cancelled, or its time was up, while {run.title}. What it had done is undone.",
            kind=ErrorKind.CANCELLED,
        )
    _log.error("workflow.bug", workflow=run.row.workflow, exc_info=error)
    return internal(f"{run.row.workflow}, {run.title}", error)


async def _settled(task: asyncio.Task[None]) -> None:
    """Wait for the end of `task`, whatever it is, and however often the waiting is cancelled."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    if not task.cancelled():
        task.exception()
