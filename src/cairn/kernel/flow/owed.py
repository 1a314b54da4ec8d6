"""Undos that are owed: those that failed, and runs of no job that could not be brought to an end.

Each is tried again every `retry_seconds`, until it succeeds or an operator settles it. What comes next in the same queue has
it tried first: undone later, it would take along what that makes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Protocol, TypeVar

import structlog

from cairn.kernel.bus.context import entered
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.flow.errors import still_running, undo_pending
from cairn.kernel.flow.executor import Executor
from cairn.kernel.flow.journal import FlowRun, RunHead, RunState
from cairn.kernel.flow.loading import load
from cairn.kernel.flow.run import RUN, Run, context_of
from cairn.kernel.flow.runner import Runner
from cairn.kernel.flow.workflow import WorkflowBook
from cairn.kernel.ids import NodeId
from cairn.kernel.ownership import lost
from cairn.kernel.store.store import Store, Tx

T = TypeVar("T")
_log = structlog.get_logger("cairn.flow")


class InTurn(Protocol):
    """Has work done in its place in a resource queue."""

    def __call__(
        self, key: str | None, name: str, work: Callable[[], Coroutine[object, object, T]]
    ) -> Coroutine[object, object, T]:
        """Do `work` in the queue `key`, or at once if there is none."""


class Owed:
    """The undos that a node owes.

    Args:
        in_turn: the places in queues.
        retry_seconds: between two tries.
        take_up: takes up a run of no job that is still to go on, or back.
        node: this node.
    """

    def __init__(
        self,
        *,
        store: Store,
        book: WorkflowBook,
        clock: Clock,
        executor: Executor,
        runner: Runner,
        in_turn: InTurn,
        retry_seconds: Callable[[], float],
        take_up: Callable[[FlowRun], Awaitable[None]],
        node: NodeId,
    ) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._executor = executor
        self._runner = runner
        self._in_turn = in_turn
        self._retry_seconds = retry_seconds
        self._take_up = take_up
        self._node = node
        self._again: set[str] = set()  #: runs that are taken up again in a while
        self._queues: dict[str, str | None] = {}  #: those, and those that are being tried: in which queue

    def note(self, row: RunHead) -> None:
        """Know of an undo that a former process owed, before anything else begins in its queue."""
        self._queues[row.uuid] = row.queue_key

    def release(self, uuid: str) -> bool:
        """Forget an undo, which another node is to have. False: it is being tried now."""
        if uuid in self._runner.live:
            return False
        self._queues.pop(uuid, None)
        return True

    def later(self, row: FlowRun) -> None:
        """Take a run up again in a while, once."""
        if not self._runner.stopping and row.uuid not in self._again:
            self._again.add(row.uuid)
            self._queues[row.uuid] = row.queue_key
            self._runner.spawn(self._try_again(row), f"undo again {row.uuid}", Context())

    async def _try_again(self, former: FlowRun) -> None:
        uuid = former.uuid
        await self._clock.sleep(self._retry_seconds())
        self._again.discard(uuid)
        try:
            row = await self._store.read(lambda tx: self._mine(tx, uuid))
            if row is not None and row.state is RunState.UNDO_FAILED:
                await self.retry(uuid)
            elif row is not None and row.job_uuid is None:
                await self._take_up(row)
            if row is None:
                self._queues.pop(uuid, None)
        except Exception as error:  # noqa: BLE001 (it is tried until it succeeds or is settled)
            _log.warning("workflow.retry-failed", run=uuid, error=str(error))
            self.later(former)

    async def retry(self, uuid: str) -> bool:
        """Try a failed undo again, now. Returns whether nothing is left of it.

        Raises:
            CairnError: ``workflow.still-running``, ``workflow.step-gone``, ``workflow.not-found``; ``node.fenced``: it is
                another node's.
        """
        row = await self._store.read(lambda tx: self._undo_failed(tx, uuid))
        if row is None:
            return True
        return await self._in_turn(row.queue_key, f"undo {row.workflow}", lambda: self._undo(uuid))

    async def first(self, queue: str) -> None:
        """Undo what former runs in this queue left.

        Raises:
            CairnError: ``workflow.undo-pending``.
        """
        for uuid in [uuid for uuid, key in self._queues.items() if key == queue and uuid not in self._runner.live]:
            try:
                done = await self._undo(uuid)
            except CairnError as error:
                raise undo_pending(uuid, error) from error
            if not done:
                raise undo_pending(uuid, None)

    async def _undo(self, uuid: str) -> bool:
        live = self._runner.live
        if uuid in live:
            raise still_running(uuid)
        live.add(uuid)
        try:
            row = await self._store.read(lambda tx: self._undo_failed(tx, uuid))
            if row is None:
                self._queues.pop(uuid, None)
                return True
            with entered(context_of(row)):
                return await self._runner.owned(run := load(self._book, row), self._undo_rest(run))
        finally:
            live.discard(uuid)

    async def _undo_rest(self, run: Run) -> bool:
        RUN.set(run)
        done = await self._executor.undo(run)
        if not done:
            self.later(run.row)
        else:
            self._queues.pop(run.row.uuid, None)
        return done

    async def settle(self, uuid: str) -> None:
        """Forget a run that an operator has cleaned up after by hand. Does nothing if there is no such run.

        Raises:
            CairnError: ``workflow.still-running``; ``node.fenced``: it is another node's.
        """
        row = await self._store.read(lambda tx: self._undo_failed(tx, uuid))
        if row is not None:
            await self._in_turn(row.queue_key, f"settle {row.workflow}", lambda: self._forget(uuid))

    async def _forget(self, uuid: str) -> None:
        if uuid in self._runner.live:
            raise still_running(uuid)
        row = await self._store.read(lambda tx: self._undo_failed(tx, uuid))
        try:
            run = None if row is None else load(self._book, row)
        except Exception as error:  # noqa: BLE001 (a plugin has changed; an operator gets rid of it all the same)
            _log.warning("workflow.settled-unread", run=uuid, error=str(error))
            run = None
        if run is not None:
            with entered(context_of(run.row)):
                await self._executor.undo_in_database(run)
        failed = {"uuid": uuid, "node_uuid": self._node, "state": RunState.UNDO_FAILED}
        await self._store.write(lambda tx: tx.delete_where(FlowRun, **failed))
        self._queues.pop(uuid, None)

    def _undo_failed(self, tx: Tx, uuid: str) -> FlowRun | None:
        """The row of a run whose undo has failed; None when it is gone."""
        row = tx.get(FlowRun, uuid)
        if row is not None and row.node_uuid != self._node:
            raise lost(FlowRun, row.claim)
        if row is not None and row.state is not RunState.UNDO_FAILED:
            raise still_running(uuid)
        return row

    def _mine(self, tx: Tx, uuid: str) -> FlowRun | None:
        """The row of a run; None when it is gone, or another node's."""
        row = tx.get(FlowRun, uuid)
        return row if row is not None and row.node_uuid == self._node else None
