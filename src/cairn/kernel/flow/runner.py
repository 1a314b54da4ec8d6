"""Runs that are under way: each in a task of the node's own, until it has ended or what is left of it is owed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import TypeVar

import structlog
from msgspec.structs import replace

from cairn.kernel.bus.context import CONTEXT, current
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.flow.errors import known, recorded, stopped
from cairn.kernel.flow.executor import Executor, is_not_ours
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.flow.run import RUN, Run

T = TypeVar("T")

_log = structlog.get_logger("cairn.flow")
#: until an undo is tried again whose begin or end could not be written down
_WRITE_AGAIN_SECONDS = 5.0


class Runner:
    """Takes runs to their ends.

    Args:
        later: has a run taken up again in a while, of which something is left.
    """

    def __init__(self, executor: Executor, clock: Clock, *, later: Callable[[FlowRun], None]) -> None:
        self._executor = executor
        self._clock = clock
        self._later = later
        self.live: set[str] = set()  #: runs that a task works on
        self.stopping = False
        self._outermost: dict[str, Run] = {}  #: by job
        self._tasks: set[asyncio.Task[object]] = set()

    def outermost(self, job: str) -> Run | None:
        """The outermost run that works for `job` now."""
        return self._outermost.get(job)

    async def owned(self, run: Run, work: Coroutine[object, object, T]) -> T:
        """Await `work` on a run in a task of its own. The caller's cancellation is the run's, and waits for its end.

        Raises:
            CairnError: ``workflow.stopped``, or what `work` raises.
        """
        if self.stopping:
            work.close()
            raise stopped(run)
        task = self.spawn(work, f"flow {run.row.workflow}")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                run.cancel()
                await _settled(task)
            raise

    async def go(self, run: Run) -> None:
        """Take a run from where it stands to its end, forward or back. Raises what it failed with."""
        row = run.row
        RUN.set(run)
        CONTEXT.set(replace(current().child(row.workflow), parent=row.uuid))
        self.live.add(row.uuid)
        if row.job_uuid is not None and row.parent_uuid is None:
            self._outermost[row.job_uuid] = run
        try:
            if row.state is RunState.RUNNING:
                await self._forward(run)
            else:
                error = recorded(row)
                raise error if await self._undone(run, lambda: self._executor.undo(run)) else self._pending(run, error)
        finally:
            self.live.discard(row.uuid)
            if row.job_uuid is not None and self._outermost.get(row.job_uuid) is run:
                del self._outermost[row.job_uuid]

    async def _forward(self, run: Run) -> None:
        try:
            await self._executor.forward(run)
        except (Exception, asyncio.CancelledError) as error:
            if self.stopping:
                raise
            why = known(error, run)
            _log.info("workflow.failed", workflow=run.row.workflow, run=run.row.uuid, code=why.code, error=str(why))
            await self._back(run, why)
            if isinstance(error, asyncio.CancelledError) and run.cancelled:
                raise
            raise why from error

    async def _back(self, run: Run, error: CairnError) -> None:
        if not await self._undone(run, lambda: self._executor.begin_undo(run, error)):
            self._pending(run, error)

    async def _undone(self, run: Run, undo: Callable[[], Awaitable[bool]]) -> bool:
        """Undo, for as long as it takes until that is written down: only then may the run lose its place."""
        while True:
            try:
                return await undo()
            except Exception as error:
                if self.stopping or is_not_ours(error):
                    if run.row.job_uuid is None and run.row.parent_uuid is None:
                        self._later(run.row)  # a run that works for a job is taken up again by the job
                    raise
                _log.warning("workflow.undo-not-written", workflow=run.row.workflow, run=run.row.uuid, error=str(error))
            await self._clock.sleep(_WRITE_AGAIN_SECONDS)

    def _pending(self, run: Run, error: CairnError) -> CairnError:
        self._later(run.row)
        error.details["undoPending"] = run.row.uuid
        return error

    def spawn(self, work: Coroutine[object, object, T], name: str, context: Context | None = None) -> asyncio.Task[T]:
        """Do `work` in a task that ends with this node at the latest."""
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Drop all runs where they stand. Safe to repeat."""
        self.stopping = True
        self._executor.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _settled(task: asyncio.Task[T]) -> None:
    """Wait for the end of `task`, whatever it is, and however often the waiting is cancelled."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    if not task.cancelled():
        task.exception()
