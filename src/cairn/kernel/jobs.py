"""Jobs: API calls that change something, from the moment they are accepted to their end.

A job is a row before its caller hears of it, and it ends: succeeded, failed with everything undone, or cancelled. After a crash
each open job is taken up by what the database knows of it:

* its workflow's journal is there: the engine goes on from it, forward or back;
* neither journal nor answer: nothing was done yet (handlers do all their work in one transaction that records the answer, see
  `Jobs.commit`, or in a workflow whose end records it), so the call is simply made again;
* its call cannot be read any more (its plugin was taken out): what its journal tells is undone, and it fails.

A resource is there from the moment its creation was accepted: its row in ``resource`` is written with the job's. A call that
names a resource whose creation has not ended waits for that end before it begins.

A job does not end while one of its runs has neither come to its end nor been undone: if that cannot be written now (the disk is
full), it is tried again, in this process or by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from datetime import timedelta
from typing import Protocol, TypeVar

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.api import ApiCommand, ApiCreate
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, current, entered
from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.bus.message import tag_of
from cairn.kernel.bus.transport import NOT_OWNER
from cairn.kernel.clock import Clock
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord, internal
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.guard import Guards
from cairn.kernel.ids import JobId
from cairn.kernel.job import Job, JobState, digest_of, is_open, key_of, read, turn_of
from cairn.kernel.metrics import Metrics
from cairn.kernel.open_jobs import OpenJob, OpenJobs, Waiter
from cairn.kernel.ownership import Claim, Ownership, change, lost
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.resource import announce, retract
from cairn.kernel.retention import remove, up_to
from cairn.kernel.store.statements import NOTHING
from cairn.kernel.store.store import Store, Tx

T = TypeVar("T")
_log = structlog.get_logger("cairn.jobs")
#: until a job whose end could not be written down is taken up again
_AGAIN_SECONDS = 5.0


class Elsewhere(Protocol):
    """What jobs need of other nodes."""

    def holds_up(self, opened: OpenJob) -> bool:
        """Whether a job may have to wait for a creation on another node. If so, `Jobs.arrived` is called in a while."""

    def give(self, opened: OpenJob) -> None:
        """Have the node take a job that owns its key now, or bring it back with `Jobs.take_back`."""


class Nowhere:
    """There are no other nodes."""

    def holds_up(self, opened: OpenJob) -> bool:
        """No."""
        return False

    def give(self, opened: OpenJob) -> None:
        """Forget it: whoever took it over goes on with it."""


class Progress(Struct, frozen=True, kw_only=True):
    """The progress of a job."""

    step: str
    percent: int


Render = Callable[[Tx, ApiCommand[object], object], bytes]


class Jobs:
    """Accepts, runs, finishes and recovers jobs.

    Args:
        render: makes the result body that the API shows of a command's answer, inside the job's last transaction.
        queues: in which calls that are one transaction take their turn.
        parallelism: how many jobs run at a time; the others wait for their turn (`cairn.kernel.slots`).
        retention_seconds: how long ended jobs are kept.
        setting: the value of one of the settings of slots, now; by default the one that it has from the start.
        guards: may veto a call that is one transaction, inside of it.
        owners: whose the jobs are.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
        render: Render,
        queues: ResourceQueues,
        parallelism: Callable[[], int],
        retention_seconds: Callable[[], float],
        owners: Ownership,
        setting: Callable[[Setting[int]], int] = lambda setting: setting.default,
        guards: Guards | None = None,
    ) -> None:
        self._guards = guards or Guards()
        self._owners = owners
        self._elsewhere: Elsewhere = Nowhere()
        self._store = store
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._render = render
        self._wheel = DeadlineWheel(clock)  # of running jobs; stopped with them
        self._queues = queues
        self._retention_seconds = retention_seconds
        self._open = OpenJobs(parallelism, setting)
        self._running = 0
        self._stopping = False
        self._flows: FlowEngine | None = None
        metrics.jobs_waiting.read_from(self._waiting_by_api)
        metrics.job_oldest_wait.read_from(lambda: {(): self._oldest_wait()})

    def attach(self, flows: FlowEngine) -> None:
        """Take the engine, whose runs give jobs their answers. Each of the two needs the other, so it comes late."""
        self._flows = flows

    def join(self, elsewhere: Elsewhere) -> None:
        """Take what knows the other nodes. It needs the jobs, so it comes late."""
        self._elsewhere = elsewhere

    # -- accepting ------------------------------------------------------------------------------------------------

    async def submit(
        self,
        job: JobId,
        message: ApiCommand[object],
        *,
        actor: str | None,
        timeout_seconds: float,
        admin: bool = False,
    ) -> bool:
        """Accept a call on this node, which owns its key. When this returns the job is durable and will end.

        Safe to repeat: the same id with the same call is the same job (returns False then).

        Args:
            actor: the account that makes it.
            timeout_seconds: how long it may take once it has begun.
            admin: that account is an administrator's.

        Raises:
            CairnError: ``job.id-taken`` when another call has that id; ``resource.uuid-taken`` when a resource has the uuid
                that the call chose for the one that it makes; ``job.backlog-full`` when too many jobs are open already, of
                this account or in all; ``bus.not-owner`` when another node owns its key by now: nothing was written.
        """
        request = msgspec.json.encode(message)
        digest = digest_of(message, actor)
        try:
            self._open.check(message, actor, admin=admin)
        except CairnError:
            if await self._is_repeated(job, digest):
                return False
            raise
        api = type(message).__name__
        key = key_of(message, job)
        opened = OpenJob(
            id=job,
            claim=Claim(job, self._owners.node, 0),
            ring_key=key,
            api=api,
            message=message,
            actor=actor,
            timeout_seconds=timeout_seconds,
            admin=admin,
            origin=current().origin,
        )

        def fn(tx: Tx) -> bool:
            epoch = self._owners.begin(tx, key)
            row = Job(
                uuid=job,
                node_uuid=self._owners.node,
                epoch=epoch,
                ring_key=key,
                api=api,
                tag=tag_of(message),
                request=request,
                digest=digest,
                account_uuid=actor,
                timeout_seconds=timeout_seconds,
                create_date=tx.now,
            )
            try:
                tx.insert(row)
            except CairnError as error:
                if error.code != "store.duplicate":
                    raise
                there = tx.get(Job, job)
                assert there is not None, "nothing but its uuid must be its own"
                return self._same(there, digest)
            if isinstance(message, ApiCreate):
                announce(tx, message, job=job, owner=actor)
            tx.after_commit(lambda: self._accepted(opened, row))  # even if the caller has gone meanwhile
            return True

        with self._open.entering(actor):
            return await self._store.write(fn, own=key)

    def _accepted(self, opened: OpenJob, row: Job) -> None:
        opened.claim, opened.row = row.claim, replace(row, request=NOTHING)
        self._enqueue(opened)

    async def _is_repeated(self, job: JobId, digest: str) -> bool:
        there = await self._store.look(lambda tx: tx.get(Job, job))
        return there is not None and not self._same(there, digest)

    def _same(self, there: Job, digest: str) -> bool:
        if there.digest != digest:
            raise CairnError(
                "job.id-taken",
                f"The job id {there.uuid} belongs to another call. Choose a new id for a new call, and repeat an id "
                "only with the same call.",
                kind=ErrorKind.CONFLICT,
                operator=f"It is a {there.api}.",
            )
        return False

    # -- looking ----------------------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether this node begins and ends no more jobs."""
        return self._stopping

    def has(self, job: JobId) -> bool:
        """Whether an open job is on this node."""
        return self._open.get(job) is not None

    def is_running(self, job: JobId) -> bool:
        """Whether it runs here, rather than wait for its turn."""
        opened = self._open.get(job)
        return opened is not None and opened.task is not None

    async def wait(self, job: JobId, seconds: float) -> Job | None:
        """Wait until a job of this node ends or goes to another one, but no longer than `seconds`. At once if it is not here.

        Returns:
            Its row, if it ended here meanwhile; None: look into the database.
        """
        opened = self._open.get(job)
        if opened is None:
            return None
        await opened.wait(self._clock, seconds)
        return opened.row if opened.finished else None

    def watch(self, job: JobId, waiter: Waiter) -> bool:
        """Wake `waiter` once, when a job of this node ends or goes to another one. False: it is not here."""
        opened = self._open.get(job)
        if opened is None or self._stopping:
            return False
        opened.watch(waiter)
        return True

    def unwatch(self, job: JobId, waiter: Waiter) -> None:
        """Do not wake it any more. Safe to repeat."""
        opened = self._open.get(job)
        if opened is not None:
            opened.unwatch(waiter)

    def progress(self, job: JobId) -> Progress | None:
        """The step that a running job of this node is at; None when it waits, has ended, or is not here."""
        if not self.is_running(job) or self._flows is None:
            return None
        run = self._flows.progress(job)
        if run is None:
            return Progress(step="working", percent=0)
        return Progress(step=run.title, percent=run.percent)

    def counts(self) -> tuple[int, int]:
        """How many jobs run and how many wait on this node."""
        return self._running, self._open.waiting

    def _waiting_by_api(self) -> dict[tuple[str, ...], float]:
        return {(api,): float(count) for api, count in self._open.waiting_by_api.items()}

    def _oldest_wait(self) -> float:
        oldest = self._open.oldest
        return 0.0 if oldest is None else max(0.0, self._clock.monotonic() - oldest.since)

    # -- cancelling ------------------------------------------------------------------------------------------------------

    def cancel(self, job: JobId) -> bool:
        """Ask a job of this node to end, after its row was marked; what it did is undone. Safe to repeat.

        Returns:
            Whether it is here.
        """
        opened = self._open.get(job)
        if opened is None:
            return False
        if opened.cancelled:
            return True
        opened.cancelled = True
        if opened.task is None:
            if self._open.withdraw(opened):
                self._begin(opened)  # all it does is to write its end, so it need not wait for a place
        elif opened.at_work:
            opened.task.cancel()
        return True

    # -- what handlers and the engine call --------------------------------------------------------------------------------

    async def commit(self, fn: Callable[[Tx], T]) -> T:
        """Run a transaction that is all a handler does: it and the job's end happen together, exactly once.

        It takes its turn in the queue of the resource that the call names, behind the workflows of that resource, unless the
        call says that it need not wait (`ApiCommand.takes_turn`): what makes a resource, which nobody else knows yet, and
        what changes nothing but a name, a description or whether a resource is used.
        """
        context = current()
        opened = None if context.job is None or len(context.stack) > 1 else self._open.get(context.job)
        key = None if opened is None or opened.message is None else turn_of(opened.message)
        if opened is not None and opened.message is not None:
            fn = _guarded(fn, self._guards.question(opened.message, opened.actor))
        if opened is None or key is None:
            return await self._commit(fn, context)
        return await self._queues.run(key, lambda: self._commit(fn, context), name=opened.api)

    async def _commit(self, fn: Callable[[Tx], T], context: CallContext) -> T:
        opened = None if context.job is None or len(context.stack) > 1 else self._open.get(context.job)

        def concluding(tx: Tx) -> T:
            if opened is not None:
                self._owners.begin(tx, opened.ring_key)
            result = fn(tx)
            if context.job is not None and len(context.stack) <= 1:
                self.finish(tx, context.job, result)
            return result

        return await self._store.write(concluding)

    def finish(self, tx: Tx, job: JobId, answer: object) -> None:
        """Record a job's success inside the transaction that completes its work (``node.fenced``: it is not this node's)."""
        opened = self._open.get(job)
        if opened is None or opened.message is None:
            raise lost(Job, Claim(job, self._owners.node, 0))
        body = self._render(tx, opened.message, answer)
        self._end(tx, opened, JobState.SUCCEEDED, answer=body)

    def _end(
        self, tx: Tx, opened: OpenJob, state: JobState, *, answer: bytes | None = None, error: ErrorRecord | None = None
    ) -> None:
        """Write a job's end, and keep it for those who wait once it is durable."""
        now = tx.now
        change(tx, Job, opened.claim, state=state, answer=answer, error=error, finish_date=now, request=NOTHING)

        def durable() -> None:
            opened.finished = True
            if opened.row is not None:
                asked = opened.row.cancel_requested or opened.cancelled
                opened.row = replace(
                    opened.row, state=state, answer=answer, error=error, finish_date=now, cancel_requested=asked
                )

        tx.after_commit(durable)

    # -- running ------------------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Look again at how many jobs may run at a time. Call it after one of the settings changed."""
        self._open.changed()
        self._dispatch()

    def _enqueue(self, opened: OpenJob) -> None:
        """Let a job wait for its turn; one that had begun goes on at once."""
        if self._stopping:
            return
        opened.abroad = not opened.begun and opened.message is not None and self._elsewhere.holds_up(opened)
        self._open.enter(opened, self._clock.monotonic())
        if opened.begun:
            self._begin(opened)
        self._dispatch()

    def arrived(self, opened: OpenJob) -> None:
        """What a job waited for on other nodes has ended: it waits for its turn now."""
        self._open.arrived(opened, self._clock.monotonic())
        self._dispatch()

    def _dispatch(self) -> None:
        while not self._stopping and (opened := self._open.take()) is not None:
            self._begin(opened)

    def _begin(self, opened: OpenJob) -> None:
        """Start a job's task, in an empty context: it is not part of the call that happened to start it."""
        self._running += 1
        opened.task = asyncio.get_running_loop().create_task(
            self._run(opened), name=f"job {opened.id}", context=Context()
        )

    async def _run(self, opened: OpenJob) -> None:
        ended = moved = False
        opened.at_work = True
        began = self._clock.monotonic()
        try:
            error = await self._work(opened)
            opened.at_work = False
            if error is not None and error.code == NOT_OWNER:
                moved = True
                return
            opened.error = error
            ended = error is None or await self._fail(opened, error)
            if error is None:
                seconds = round(self._clock.monotonic() - began, 3)
                _log.info("job.succeeded", job=opened.id, api=opened.api, seconds=seconds)
        except asyncio.CancelledError:
            if not self._stopping:
                _log.error("job.lost", job=opened.id)
            raise
        except CairnError as lost:
            moved = lost.code == "node.fenced"
            if not moved:
                _log.exception("job.end-not-written", job=opened.id)
        except Exception:  # noqa: BLE001 (the store's trouble; it is tried again)
            _log.exception("job.end-not-written", job=opened.id)
        finally:
            self._running -= 1
            if not self._stopping:
                self._open.leave(opened)
                if moved:
                    self._move(opened)
                else:
                    self._leave(opened, ended=ended)
                self._dispatch()

    def _move(self, opened: OpenJob) -> None:
        """Give away a job of which nothing is done here. Whoever waits for its end looks where it is."""
        opened.task, opened.turn = None, None
        self._open.gone(opened)
        for follower in self._open.let_go(opened):
            self._enqueue(follower)
        self._elsewhere.give(opened)

    def pass_on(self) -> None:
        """Give away the jobs that have not begun and that the ring gives to other nodes now. Safe to repeat."""
        for opened in list(self._open):
            strayed = self._owners.owner_of(opened.ring_key) != self._owners.node
            if opened.task is None and not opened.begun and strayed and self._open.withdraw(opened):
                self._move(opened)

    def take_back(self, opened: OpenJob) -> None:
        """Let a job that was to be given away wait for its turn here again."""
        opened.resumed = True
        self._enqueue(opened)

    def _leave(self, opened: OpenJob, *, ended: bool) -> None:
        if ended:
            self._open.ended(opened)
            return
        opened.task, opened.at_work, opened.resumed, opened.begun = None, False, True, True
        self._clock.call_later(_AGAIN_SECONDS, lambda: self._enqueue(opened))

    async def _work(self, opened: OpenJob) -> CairnError | None:
        context = CallContext(job=opened.id, stack=(), deadline=None, actor=opened.actor, origin=opened.origin)
        try:
            with entered(context):
                if opened.resumed and await self._recover_flows(opened):
                    return None
                if opened.error is not None or opened.cancelled:
                    return opened.error or _cancelled()
                assert opened.message is not None, "else it has an error"
                answer = await self._bus.here(opened.message, timeout_seconds=opened.timeout_seconds)
                await self._ensure_finished(opened, answer)
        except CairnError as error:
            return error if opened.message is not None else _unreadable(opened, error)
        except asyncio.CancelledError:
            if self._stopping or not opened.cancelled:
                raise
            return _cancelled()
        except Exception as error:  # noqa: BLE001 (every job ends, also at a bug)
            _log.exception("job.bug", job=opened.id)
            return internal(opened.api, error)
        return None

    async def _recover_flows(self, opened: OpenJob) -> bool:
        """Go on with the journal that was left behind; False when there is none and the call is made again."""
        assert self._flows is not None
        job = opened.id
        if not await self._store.look(lambda tx: tx.count(FlowRun, job_uuid=job)):
            return not await self._store.look(lambda tx: is_open(tx, job))
        until = self._clock.monotonic() + opened.timeout_seconds
        work = self._flows.recover(job, cancel=opened.cancelled or opened.message is None)
        await limit(self._wheel, until, opened.api, work)
        return not await self._store.look(lambda tx: is_open(tx, job))

    async def _ensure_finished(self, opened: OpenJob, answer: object) -> None:
        """Write the end of a job whose handler needed neither workflow nor commit, because nothing was to be done."""
        job = opened.id

        def fn(tx: Tx) -> None:
            if is_open(tx, job):
                self.finish(tx, job, answer)

        if not opened.finished:
            await self._store.write(fn)

    async def _fail(self, opened: OpenJob, error: CairnError) -> bool:
        """Write down that a job has failed. False: not yet, because something of it is neither done nor undone."""
        if self._stopping:
            return False
        job = opened.id
        state = JobState.CANCELLED if opened.cancelled else JobState.FAILED

        def fn(tx: Tx) -> bool:
            if not is_open(tx, job):
                return True
            runs = tx.find(FlowRun, job_uuid=job) if self._flows is not None else []
            if any(run.state is not RunState.UNDO_FAILED for run in runs):
                return False
            if runs:
                error.details.setdefault("undoPending", runs[0].uuid)
            if isinstance(opened.message, ApiCreate):
                retract(tx, opened.message, job=job)
            self._end(tx, opened, state, error=error.record())
            return True

        ended = await self._store.write(fn)
        event = "job.failed" if ended else "job.not-undone-yet"
        _log.info(event, job=job, api=opened.api, code=error.code, error=str(error))
        return ended

    # -- life ------------------------------------------------------------------------------------------------------------------

    def adopt(self, rows: Sequence[Job], begun: Collection[str] = ()) -> None:
        """Take up open jobs that are this node's now, in this order.

        Args:
            begun: the jobs that have a journal, from `FlowEngine.adopt`. They hold places in queues, so they begin at
                once, however many may run at a time: the others may wait for them.
        """
        for row in rows:
            if self._open.get(JobId(row.uuid)) is not None:
                continue
            message, error = read(row)
            if error is not None:
                _log.error("job.unreadable", job=row.uuid, api=row.api, error=str(error))
            opened = OpenJob(
                id=JobId(row.uuid),
                claim=row.claim,
                ring_key=row.ring_key,
                api=row.api,
                message=message,
                actor=row.account_uuid,
                timeout_seconds=row.timeout_seconds,
                resumed=True,
                begun=row.uuid in begun or error is not None,
                cancelled=row.cancel_requested,
                error=error,
                row=replace(row, request=NOTHING),
            )
            self._enqueue(opened)

    async def stop(self) -> None:
        """Drop all jobs where they stand; the next start takes them up again. Stops the workflow engine, too."""
        self._stopping = True
        if self._flows is not None:
            await self._flows.stop()  # first: else their callers' end would have them undone
        tasks = [opened.task for opened in self._open if opened.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._wheel.stop()
        for opened in self._open:
            opened.wake()

    async def clean(self) -> int:
        """Remove ended jobs whose time of keeping is over, a bite in each transaction. Returns how many."""
        return await remove(self._store, _OLD, self._clock.now() - timedelta(seconds=self._retention_seconds()))


_OLD = up_to(Job, "finish_date")  # an open job has none, and stays


def _guarded(fn: Callable[[Tx], T], veto: Callable[[Tx], None] | None) -> Callable[[Tx], T]:
    """`fn`, once nobody has a veto."""
    if veto is None:
        return fn

    def asking(tx: Tx) -> T:
        veto(tx)
        return fn(tx)

    return asking


def _unreadable(opened: OpenJob, undone: CairnError) -> CairnError:
    """What a job fails with whose call could not be read, once its runs were undone with the error `undone`."""
    assert opened.error is not None
    if "undoPending" in undone.details:
        opened.error.details["undoPending"] = undone.details["undoPending"]
    return opened.error


def _cancelled() -> CairnError:
    return CairnError(
        "job.cancelled", "The job was cancelled, and what it had done is undone.", kind=ErrorKind.CANCELLED
    )
