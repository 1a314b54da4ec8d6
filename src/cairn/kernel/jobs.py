"""Jobs: API calls that change something, from the moment they are accepted to their end.

A job is a row before its caller hears of it, and it ends: succeeded, failed with everything undone, or cancelled. After a crash
each open job is taken up by what the database knows of it:

* its workflow's journal is there: the engine goes on from it, forward or back;
* neither journal nor answer: nothing was done yet (handlers do all their work in one transaction that records the answer, see
  `Jobs.commit`, or in a workflow whose end records it), so the call is simply made again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, TypeVar

import msgspec
import structlog
from msgspec import Struct

from cairn.kernel.api import ApiCommand
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.message import message_type, tag_of
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord, internal
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.ids import JobId
from cairn.kernel.metrics import Metrics
from cairn.kernel.store.record import Doc, Hidden, Index, Key, Owner, Record, TableMeta
from cairn.kernel.store.store import Store, Tx

T = TypeVar("T")
_log = structlog.get_logger("cairn.jobs")


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


OPEN = (JobState.WAITING, JobState.RUNNING)


class Job(Record, frozen=True, kw_only=True):
    """An API call that changes something."""

    meta: ClassVar[TableMeta] = TableMeta(table="job", entity="Job")

    uuid: Annotated[str, Key()]
    api: Annotated[str, Index(), Doc("the API's name")]
    tag: Annotated[str, Hidden()]
    request: Annotated[bytes, Hidden()]
    digest: Annotated[str, Hidden()]
    account_uuid: Annotated[str | None, Owner(), Index(), Doc("who asked")] = None
    state: Annotated[JobState, Index()] = JobState.WAITING
    answer: Annotated[bytes | None, Hidden()] = None
    error: Annotated[ErrorRecord | None, Doc("why it failed")] = None
    timeout_seconds: Annotated[float, Doc("how long it may take")] = 1800.0
    cancel_requested: bool = False
    create_date: datetime
    finish_date: datetime | None = None


class Progress(Struct, frozen=True, kw_only=True):
    """How far a job is."""

    step: str
    percent: int


Render = Callable[[Tx, ApiCommand[object], object], bytes]


class _Open(Struct, kw_only=True, eq=False):
    """A job of this node that has not ended."""

    id: JobId
    message: ApiCommand[object]
    actor: str | None
    timeout_seconds: float
    ended: asyncio.Event
    task: asyncio.Task[None] | None = None
    resumed: bool = False
    cancelled: bool = False


class Jobs:
    """Accepts, runs, finishes and recovers jobs.

    Args:
        render: makes the result body that the API shows of a command's answer, inside the job's last transaction.
        parallelism: how many jobs run at a time; the others wait in the order of their arrival.
        retention_seconds: how long ended jobs are kept.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
        render: Render,
        parallelism: Callable[[], int],
        retention_seconds: Callable[[], float],
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._render = render
        self._parallelism = parallelism
        self._retention_seconds = retention_seconds
        self._open: dict[JobId, _Open] = {}
        self._waiting: deque[_Open] = deque()
        self._running = 0
        self._stopping = False
        self._flows: FlowEngine | None = None

    def attach(self, flows: FlowEngine) -> None:
        """The engine whose runs the jobs' answers come from; each of the two needs the other."""
        self._flows = flows

    # -- accepting ------------------------------------------------------------------------------------------------

    async def submit(
        self, job: JobId, message: ApiCommand[object], *, actor: str | None, timeout_seconds: float
    ) -> bool:
        """Accept a call. When this returns the job is durable and will end.

        Safe to repeat: the same id with the same call is the same job (returns False then).

        Raises:
            CairnError: ``job.id-taken`` when another call has that id.
        """
        request = msgspec.json.encode(message)
        digest = hashlib.blake2b(request + (actor or "").encode(), digest_size=16).hexdigest()

        def fn(tx: Tx) -> bool:
            there = tx.get(Job, job)
            if there is not None:
                return self._same(there, digest)
            tx.insert(
                Job(
                    uuid=job,
                    api=type(message).__name__,
                    tag=tag_of(message),
                    request=request,
                    digest=digest,
                    account_uuid=actor,
                    timeout_seconds=timeout_seconds,
                    create_date=tx.now,
                )
            )
            return True

        opened = _Open(id=job, message=message, actor=actor, timeout_seconds=timeout_seconds, ended=asyncio.Event())
        if not await self._store.write(fn):
            return False
        self._enqueue(opened)
        return True

    def _same(self, there: Job, digest: str) -> bool:
        if there.digest != digest:
            raise CairnError(
                "job.id-taken",
                f"The job id {there.uuid} belongs to another call ({there.api}). Choose a new id for a new call, and "
                "repeat an id only with the same call.",
                kind=ErrorKind.CONFLICT,
            )
        return False

    # -- looking ----------------------------------------------------------------------------------------------------

    async def look(self, job: JobId, wait_seconds: float = 0.0) -> Job:
        """The job as it is, or as it is when it ends within `wait_seconds` (``job.not-found``)."""
        opened = self._open.get(job)
        if opened is not None and wait_seconds > 0:
            timer = self._clock.call_later(wait_seconds, opened.ended.set)
            waiter = opened.ended
            await waiter.wait()
            timer.cancel()
            if job in self._open:
                opened.ended = asyncio.Event()
        row = await self._store.read(lambda tx: tx.get(Job, job))
        if row is None:
            raise CairnError(
                "job.not-found",
                f"There is no job {job!r}. It was never accepted, or it ended and its time of keeping is over.",
                kind=ErrorKind.NOT_FOUND,
            )
        return row

    def progress(self, job: JobId) -> Progress | None:
        """What a running job does now; None when it waits or has ended."""
        opened = self._open.get(job)
        if opened is None or opened.task is None or self._flows is None:
            return None
        run = self._flows.progress(job)
        if run is None:
            return Progress(step="working", percent=0)
        return Progress(step=run.title, percent=run.percent)

    def counts(self) -> tuple[int, int]:
        """How many jobs run and how many wait on this node."""
        return self._running, len(self._waiting)

    # -- cancelling ------------------------------------------------------------------------------------------------------

    async def cancel(self, job: JobId) -> None:
        """Ask a job to end; what it did is undone. One that has ended stays as it is.

        Raises:
            CairnError: ``job.not-found``.
        """
        row = await self.look(job)
        if row.state not in OPEN:
            return
        await self._store.write(lambda tx: tx.update(Job, job, cancel_requested=True))
        opened = self._open.get(job)
        if opened is None:
            return
        opened.cancelled = True
        if opened.task is not None:
            opened.task.cancel()

    # -- what handlers and the engine call --------------------------------------------------------------------------------

    async def commit(self, fn: Callable[[Tx], T]) -> T:
        """One transaction that is all a handler does: it and the job's end happen together, exactly once."""
        context = current()

        def concluding(tx: Tx) -> T:
            result = fn(tx)
            if context.job is not None and len(context.stack) <= 1:
                self.finish(tx, context.job, result)
            return result

        return await self._store.write(concluding)

    def finish(self, tx: Tx, job: JobId, answer: object) -> None:
        """Record a job's success inside the transaction that completes its work."""
        opened = self._open.get(job)
        message = opened.message if opened is not None else self._message(tx, job)
        body = self._render(tx, message, answer)
        tx.update(Job, job, state=JobState.SUCCEEDED, answer=body, finish_date=tx.now, request=b"{}")

    def _message(self, tx: Tx, job: JobId) -> ApiCommand[object]:
        row = tx.get(Job, job)
        assert row is not None
        return _decode(row)

    # -- running ------------------------------------------------------------------------------------------------------------

    def _enqueue(self, opened: _Open) -> None:
        self._open[opened.id] = opened
        self._waiting.append(opened)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and self._running < self._parallelism() and not self._stopping:
            opened = self._waiting.popleft()
            self._running += 1
            opened.task = asyncio.get_running_loop().create_task(self._run(opened), name=f"job {opened.id}")
            if opened.cancelled:
                opened.task.cancel()

    async def _run(self, opened: _Open) -> None:
        try:
            error = await self._work(opened)
            if error is not None:
                await self._fail(opened, error)
        except asyncio.CancelledError:
            if not self._stopping:
                _log.error("job.lost", job=opened.id)
            raise
        finally:
            self._running -= 1
            if not self._stopping:
                self._open.pop(opened.id, None)
                opened.ended.set()
                self._dispatch()

    async def _work(self, opened: _Open) -> CairnError | None:
        context = CallContext(job=opened.id, stack=(), deadline=None, actor=opened.actor)
        try:
            with entered(context):
                if opened.resumed and await self._recover_flows(opened):
                    return None
                answer = await self._bus.call(opened.message, timeout_seconds=opened.timeout_seconds)
                await self._ensure_finished(opened.id, answer)
        except CairnError as error:
            return error
        except asyncio.CancelledError:
            if self._stopping or not opened.cancelled:
                raise
            return CairnError(
                "job.cancelled", "The job was cancelled, and what it had done is undone.", kind=ErrorKind.CANCELLED
            )
        except Exception as error:  # noqa: BLE001 (every job ends, also at a bug)
            _log.exception("job.bug", job=opened.id)
            return internal(type(opened.message).__name__, error)
        return None

    async def _recover_flows(self, opened: _Open) -> bool:
        """Go on with the journal that a former life left; False when there is none and the call is made again."""
        assert self._flows is not None
        job = opened.id
        if not await self._store.read(lambda tx: tx.count(FlowRun, job_uuid=job)):
            return False
        await self._flows.recover(job)
        row = await self.look(job)
        return row.state not in OPEN

    async def _ensure_finished(self, job: JobId, answer: object) -> None:
        """For handlers whose work needed neither workflow nor commit (nothing was to be done)."""

        def fn(tx: Tx) -> None:
            row = tx.get(Job, job)
            if row is not None and row.state in OPEN:
                self.finish(tx, job, answer)

        if await self._store.read(lambda tx: _is_open(tx, job)):
            await self._store.write(fn)

    async def _fail(self, opened: _Open, error: CairnError) -> None:
        state = JobState.CANCELLED if opened.cancelled else JobState.FAILED
        record = error.record()
        job = opened.id

        def fn(tx: Tx) -> None:
            if _is_open(tx, job):
                tx.update(Job, job, state=state, error=record, finish_date=tx.now, request=b"{}")

        _log.info("job.failed", job=job, api=type(opened.message).__name__, code=error.code, error=str(error))
        await self._store.write(fn)

    # -- life ------------------------------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Take up every open job of the database. Returns how many there were."""
        rows = await self._store.read(lambda tx: tx.find(Job, state=list(OPEN), order_by="create_date"))
        for row in rows:
            self._enqueue(
                _Open(
                    id=JobId(row.uuid),
                    message=_decode(row),
                    actor=row.account_uuid,
                    timeout_seconds=row.timeout_seconds,
                    ended=asyncio.Event(),
                    resumed=True,
                    cancelled=row.cancel_requested,
                )
            )
        return len(rows)

    async def stop(self) -> None:
        """Drop all jobs where they stand; the next start takes them up again."""
        self._stopping = True
        tasks = [opened.task for opened in self._open.values() if opened.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def clean(self) -> int:
        """Remove ended jobs whose time of keeping is over. Returns how many."""
        before = self._clock.now() - timedelta(seconds=self._retention_seconds())

        def fn(tx: Tx) -> int:
            ended = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]
            old = [
                row.uuid
                for row in tx.find(Job, state=ended, order_by="create_date", limit=1000)
                if row.finish_date is not None and row.finish_date < before
            ]
            return tx.delete_where(Job, uuid=old) if old else 0

        return await self._store.write(fn)


def _is_open(tx: Tx, job: JobId) -> bool:
    row = tx.get(Job, job)
    return row is not None and row.state in OPEN


def _decode(row: Job) -> ApiCommand[object]:
    kind = message_type(row.tag)
    message: ApiCommand[object] = msgspec.json.decode(row.request, type=kind)
    return message
