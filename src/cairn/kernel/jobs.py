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
import hashlib
from collections.abc import Callable, Collection
from contextvars import Context
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, TypeVar

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from cairn.kernel.api import ApiCommand, ApiCreate, secret_fields
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import CallContext, Origin, current, entered
from cairn.kernel.bus.deadline import DeadlineWheel, limit
from cairn.kernel.bus.message import message_type, tag_of
from cairn.kernel.clock import Clock
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord, internal
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.journal import FlowRun, RunState
from cairn.kernel.guard import Guards
from cairn.kernel.ids import JobId
from cairn.kernel.metrics import Metrics
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.resource import announce, retract
from cairn.kernel.retention import remove, up_to
from cairn.kernel.slots import Slots
from cairn.kernel.store.record import Doc, Hidden, Index, Key, Owner, Record, Sealed, TableMeta
from cairn.kernel.store.statements import NOTHING
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.turns import Turn

T = TypeVar("T")
_log = structlog.get_logger("cairn.jobs")


class JobState(StrEnum):
    """The state of a job."""

    WAITING = "Waiting"
    RUNNING = "Running"  #: as `Jobs.look` shows it; a row says Waiting until the job has ended
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


OPEN = (JobState.WAITING, JobState.RUNNING)
#: until a job whose end could not be written down is taken up again
_AGAIN_SECONDS = 5.0


class Job(Record, frozen=True, kw_only=True):
    """An API call that changes something."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="job", entity="Job", path="/jobs", columns=("uuid", "api", "state", "createDate", "finishDate")
    )

    uuid: Annotated[str, Key()]
    api: Annotated[str, Index(), Doc("the API's name")]
    tag: Annotated[str, Hidden()]
    request: Annotated[bytes, Sealed()]
    digest: Annotated[str, Hidden()]
    account_uuid: Annotated[str | None, Owner(), Index(), Doc("who asked")] = None
    state: Annotated[JobState, Index()] = JobState.WAITING
    answer: Annotated[bytes | None, Sealed()] = None
    error: Annotated[ErrorRecord | None, Doc("why it failed")] = None
    timeout_seconds: Annotated[float, Doc("how long it may take")] = 1800.0
    cancel_requested: bool = False
    create_date: datetime
    finish_date: Annotated[datetime | None, Index()] = None


class Progress(Struct, frozen=True, kw_only=True):
    """The progress of a job."""

    step: str
    percent: int


Render = Callable[[Tx, ApiCommand[object], object], bytes]


class _Open(Struct, kw_only=True, eq=False):
    """A job of this node that has not ended."""

    id: JobId
    api: str
    message: ApiCommand[object] | None  #: None: it cannot be read any more
    actor: str | None
    timeout_seconds: float
    #: it is an administrator's, as far as is known
    admin: bool = False
    #: where the call came from; not known any more after a restart
    origin: Origin | None = None
    #: when it was accepted, or taken up again, in seconds of the clock
    since: float = 0.0
    #: its place, or its wait for one
    turn: Turn[_Open] | None = None
    waiters: set[asyncio.Future[None]] = msgspec.field(default_factory=set)
    task: asyncio.Task[None] | None = None
    #: an earlier run of the node, or an earlier try, may have left a journal
    resumed: bool = False
    #: it left a journal, or an end that could not be written: it goes on without waiting for a place
    begun: bool = False
    cancelled: bool = False
    #: from its first to its last step of work its task may be cancelled; not before, and not while its end is written
    at_work: bool = False
    #: its success is durable
    finished: bool = False
    #: what it failed with in a former try, whose end could not be written; or why it must not go on
    error: CairnError | None = None
    #: the creations that it waits for before it may begin
    ahead: set[JobId] = msgspec.field(default_factory=set)
    #: the jobs that wait for the end of this creation
    followers: dict[JobId, _Open] = msgspec.field(default_factory=dict)

    def wake(self) -> None:
        """Wake everything that waits for its end."""
        for waiter in self.waiters:
            _wake(waiter)


class Jobs:
    """Accepts, runs, finishes and recovers jobs.

    Args:
        render: makes the result body that the API shows of a command's answer, inside the job's last transaction.
        queues: in which calls that are one transaction take their turn.
        parallelism: how many jobs run at a time; the others wait for their turn (`cairn.kernel.slots`).
        retention_seconds: how long ended jobs are kept.
        setting: the value of one of the settings of slots, now; by default the one that it has from the start.
        guards: may veto a call that is one transaction, inside of it.
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
        setting: Callable[[Setting[int]], int] = lambda setting: setting.default,
        guards: Guards | None = None,
    ) -> None:
        self._guards = guards or Guards()
        self._store = store
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._render = render
        self._wheel = DeadlineWheel(clock)  # of running jobs; stopped with them
        self._queues = queues
        self._retention_seconds = retention_seconds
        self._open: dict[JobId, _Open] = {}
        self._slots: Slots[_Open] = Slots(parallelism, setting)
        self._creating: dict[str, _Open] = {}  #: by the resource that it makes
        self._running = 0
        self._stopping = False
        self._flows: FlowEngine | None = None
        metrics.jobs_waiting.read_from(self._waiting_by_api)
        metrics.job_oldest_wait.read_from(lambda: {(): self._oldest_wait()})

    def attach(self, flows: FlowEngine) -> None:
        """Take the engine, whose runs give jobs their answers. Each of the two needs the other, so it comes late."""
        self._flows = flows

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
        """Accept a call. When this returns the job is durable and will end.

        Safe to repeat: the same id with the same call is the same job (returns False then).

        Args:
            actor: the account that makes it.
            timeout_seconds: how long it may take once it has begun.
            admin: that account is an administrator's.

        Raises:
            CairnError: ``job.id-taken`` when another call has that id; ``resource.uuid-taken`` when a resource has the uuid
                that the call chose for the one that it makes; ``job.backlog-full`` when too many jobs are open already, of
                this account or in all: nothing was written.
        """
        request = msgspec.json.encode(message)
        digest = _digest(message, actor)
        try:
            self._slots.check(message, actor, admin=admin)
        except CairnError:
            if await self._is_repeated(job, digest):
                return False
            raise
        api = type(message).__name__
        opened = _Open(
            id=job,
            api=api,
            message=message,
            actor=actor,
            timeout_seconds=timeout_seconds,
            admin=admin,
            origin=current().origin,
        )

        def fn(tx: Tx) -> bool:
            there = tx.get(Job, job)
            if there is not None:
                return self._same(there, digest)
            tx.insert(
                Job(
                    uuid=job,
                    api=api,
                    tag=tag_of(message),
                    request=request,
                    digest=digest,
                    account_uuid=actor,
                    timeout_seconds=timeout_seconds,
                    create_date=tx.now,
                )
            )
            if isinstance(message, ApiCreate):
                announce(tx, message, job=job, owner=actor)
            tx.after_commit(lambda: self._enqueue(opened))  # even if the caller has gone meanwhile
            return True

        with self._slots.entering(actor):
            return await self._store.write(fn)

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

    async def look(self, job: JobId, wait_seconds: float = 0.0) -> Job:
        """The job as it is, or as it is when it ends within `wait_seconds` (``job.not-found``)."""
        opened = self._open.get(job)
        if opened is not None and wait_seconds > 0:
            await self._wait(opened, wait_seconds)
        row = await self._store.look(lambda tx: tx.get(Job, job))
        if row is None:
            raise CairnError(
                "job.not-found",
                f"There is no job {job!r}. It was never accepted, or it ended and its time of keeping is over.",
                kind=ErrorKind.NOT_FOUND,
            )
        if row.state is JobState.WAITING and (opened := self._open.get(job)) is not None and opened.task is not None:
            return replace(row, state=JobState.RUNNING)
        return row

    async def _wait(self, opened: _Open, seconds: float) -> None:
        """Wait until it ends, but no longer than `seconds`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        opened.waiters.add(waiter)
        timer = self._clock.call_later(seconds, lambda: _wake(waiter))
        try:
            await waiter
        finally:
            timer.cancel()
            opened.waiters.discard(waiter)

    def progress(self, job: JobId) -> Progress | None:
        """The step that a running job is at; None when it waits or has ended."""
        opened = self._open.get(job)
        if opened is None or opened.task is None or self._flows is None:
            return None
        run = self._flows.progress(job)
        if run is None:
            return Progress(step="working", percent=0)
        return Progress(step=run.title, percent=run.percent)

    def counts(self) -> tuple[int, int]:
        """How many jobs run and how many wait on this node."""
        return self._running, self._slots.waiting

    def _waiting_by_api(self) -> dict[tuple[str, ...], float]:
        return {(api,): float(count) for api, count in self._slots.waiting_by_api.items()}

    def _oldest_wait(self) -> float:
        oldest = self._slots.oldest
        return 0.0 if oldest is None else max(0.0, self._clock.monotonic() - oldest.since)

    # -- cancelling ------------------------------------------------------------------------------------------------------

    async def cancel(self, job: JobId) -> None:
        """Ask a job to end; what it did is undone. One that has ended stays as it is. Safe to repeat.

        Raises:
            CairnError: ``job.not-found``.
        """
        row = await self.look(job)
        if row.state not in OPEN:
            return
        await self._store.write(lambda tx: tx.update(Job, job, cancel_requested=True))
        opened = self._open.get(job)
        if opened is None or opened.cancelled:
            return
        opened.cancelled = True
        if opened.task is None:
            waits = opened.turn is not None and self._slots.waits(opened.turn)
            if not opened.resumed and (opened.ahead or waits):
                self._withdraw(opened)
                self._begin(opened)  # all it does is to write its end, so it need not wait for a place
        elif opened.at_work:
            opened.task.cancel()

    def _withdraw(self, opened: _Open) -> None:
        """Take a job out of whatever it waits for."""
        if opened.ahead:
            for creation in opened.ahead:
                self._open[creation].followers.pop(opened.id)
            opened.ahead.clear()
        elif opened.turn is not None:
            self._slots.leave(opened.turn)

    # -- what handlers and the engine call --------------------------------------------------------------------------------

    async def commit(self, fn: Callable[[Tx], T]) -> T:
        """Run a transaction that is all a handler does: it and the job's end happen together, exactly once.

        It takes its turn in the queue of the resource that the call names, behind the workflows of that resource, unless the
        call says that it need not wait (`ApiCommand.takes_turn`): what makes a resource, which nobody else knows yet, and
        what changes nothing but a name, a description or whether a resource is used.
        """
        context = current()
        opened = None if context.job is None or len(context.stack) > 1 else self._open.get(context.job)
        key = None if opened is None or opened.message is None else _turn_of(opened.message)
        if opened is not None and opened.message is not None:
            fn = _guarded(fn, self._guards.question(opened.message, opened.actor))
        if opened is None or key is None:
            return await self._commit(fn, context)
        return await self._queues.run(key, lambda: self._commit(fn, context), name=opened.api)

    async def _commit(self, fn: Callable[[Tx], T], context: CallContext) -> T:
        def concluding(tx: Tx) -> T:
            result = fn(tx)
            if context.job is not None and len(context.stack) <= 1:
                self.finish(tx, context.job, result)
            return result

        return await self._store.write(concluding)

    def finish(self, tx: Tx, job: JobId, answer: object) -> None:
        """Record a job's success inside the transaction that completes its work."""
        opened = self._open.get(job)
        message = opened.message if opened is not None else None
        body = self._render(tx, message or self._message(tx, job), answer)
        tx.update(Job, job, state=JobState.SUCCEEDED, answer=body, finish_date=tx.now, request=NOTHING)
        if opened is not None:
            tx.after_commit(lambda: setattr(opened, "finished", True))

    def _message(self, tx: Tx, job: JobId) -> ApiCommand[object]:
        row = tx.get(Job, job)
        assert row is not None
        return _decode(row)

    # -- running ------------------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Look again at how many jobs may run at a time. Call it after one of the settings changed."""
        self._slots.changed()
        self._dispatch()

    def _enqueue(self, opened: _Open) -> None:
        """Let a job wait for its turn; one that had begun goes on at once."""
        if self._stopping:
            return
        if opened.id not in self._open:
            self._open[opened.id] = opened
            self._slots.opened(opened.actor)
        opened.since = self._clock.monotonic()
        message = opened.message
        if opened.begun:
            opened.turn = self._slots.hold(opened)
            self._begin(opened)
        elif message is not None and (creations := self._creations_ahead(message)):
            for creation in creations:
                opened.ahead.add(creation.id)
                creation.followers[opened.id] = opened
        else:
            opened.turn = self._slots.wait(opened)
        if isinstance(message, ApiCreate) and message.resource_uuid is not None:
            self._creating[message.resource_uuid] = opened
        self._dispatch()

    def _creations_ahead(self, message: ApiCommand[object]) -> list[_Open]:
        """The open jobs that make the resources which a call names."""
        if not self._creating:
            return []
        ahead: dict[JobId, _Open] = {}
        for name in message.__struct_fields__:
            value = getattr(message, name)
            for one in value if isinstance(value, list) else (value,):
                if isinstance(one, str) and (creation := self._creating.get(one)) is not None:
                    ahead[creation.id] = creation
        return list(ahead.values())

    def _dispatch(self) -> None:
        while not self._stopping and (opened := self._slots.take()) is not None:
            self._begin(opened)

    def _begin(self, opened: _Open) -> None:
        """Start a job's task, in an empty context: it is not part of the call that happened to start it."""
        self._running += 1
        opened.task = asyncio.get_running_loop().create_task(
            self._run(opened), name=f"job {opened.id}", context=Context()
        )

    async def _run(self, opened: _Open) -> None:
        ended = False
        opened.at_work = True
        began = self._clock.monotonic()
        try:
            error = await self._work(opened)
            opened.at_work, opened.error = False, error
            ended = error is None or await self._fail(opened, error)
            if error is None:
                seconds = round(self._clock.monotonic() - began, 3)
                _log.info("job.succeeded", job=opened.id, api=opened.api, seconds=seconds)
        except asyncio.CancelledError:
            if not self._stopping:
                _log.error("job.lost", job=opened.id)
            raise
        except Exception:  # noqa: BLE001 (the store's trouble; it is tried again)
            _log.exception("job.end-not-written", job=opened.id)
        finally:
            self._running -= 1
            if not self._stopping:
                if opened.turn is not None:
                    self._slots.leave(opened.turn)
                self._leave(opened, ended=ended)
                self._dispatch()

    def _leave(self, opened: _Open, *, ended: bool) -> None:
        if ended:
            if self._open.pop(opened.id, None) is not None:
                self._slots.ended(opened.actor)
            opened.wake()
            if opened.followers or isinstance(opened.message, ApiCreate):
                self._let_go(opened)
            return
        opened.task, opened.at_work, opened.resumed, opened.begun = None, False, True, True
        self._clock.call_later(_AGAIN_SECONDS, lambda: self._enqueue(opened))

    def _let_go(self, creation: _Open) -> None:
        """A creation has ended: those that waited for it may begin."""
        if isinstance(creation.message, ApiCreate):
            self._creating.pop(creation.message.resource_uuid or "", None)
        for follower in creation.followers.values():
            follower.ahead.discard(creation.id)
            if not follower.ahead:
                follower.turn = self._slots.wait(follower)

    async def _work(self, opened: _Open) -> CairnError | None:
        context = CallContext(job=opened.id, stack=(), deadline=None, actor=opened.actor, origin=opened.origin)
        try:
            with entered(context):
                if opened.resumed and await self._recover_flows(opened):
                    return None
                if opened.error is not None or opened.cancelled:
                    return opened.error or _cancelled()
                assert opened.message is not None, "else it has an error"
                answer = await self._bus.call(opened.message, timeout_seconds=opened.timeout_seconds)
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

    async def _recover_flows(self, opened: _Open) -> bool:
        """Go on with the journal that was left behind; False when there is none and the call is made again."""
        assert self._flows is not None
        job = opened.id
        if not await self._store.look(lambda tx: tx.count(FlowRun, job_uuid=job)):
            return not await self._store.look(lambda tx: _is_open(tx, job))
        until = self._clock.monotonic() + opened.timeout_seconds
        work = self._flows.recover(job, cancel=opened.cancelled or opened.message is None)
        await limit(self._wheel, until, opened.api, work)
        return not await self._store.look(lambda tx: _is_open(tx, job))

    async def _ensure_finished(self, opened: _Open, answer: object) -> None:
        """Write the end of a job whose handler needed neither workflow nor commit, because nothing was to be done."""
        job = opened.id

        def fn(tx: Tx) -> None:
            if _is_open(tx, job):
                self.finish(tx, job, answer)

        if not opened.finished:
            await self._store.write(fn)

    async def _fail(self, opened: _Open, error: CairnError) -> bool:
        """Write down that a job has failed. False: not yet, because something of it is neither done nor undone."""
        if self._stopping:
            return False
        job = opened.id
        state = JobState.CANCELLED if opened.cancelled else JobState.FAILED

        def fn(tx: Tx) -> bool:
            if not _is_open(tx, job):
                return True
            runs = tx.find(FlowRun, job_uuid=job) if self._flows is not None else []
            if any(run.state is not RunState.UNDO_FAILED for run in runs):
                return False
            if runs:
                error.details.setdefault("undoPending", runs[0].uuid)
            if isinstance(opened.message, ApiCreate):
                retract(tx, opened.message, job=job)
            tx.update(Job, job, state=state, error=error.record(), finish_date=tx.now, request=NOTHING)
            return True

        ended = await self._store.write(fn)
        event = "job.failed" if ended else "job.not-undone-yet"
        _log.info(event, job=job, api=opened.api, code=error.code, error=str(error))
        return ended

    # -- life ------------------------------------------------------------------------------------------------------------------

    async def recover(self, begun: Collection[str] = ()) -> int:
        """Take up every open job of the database, in the order in which they were accepted. Returns how many there were.

        Args:
            begun: the jobs that have a journal, from `FlowEngine.restore`. They hold places in queues, so they begin at
                once, however many may run at a time: the others may wait for them.
        """
        rows = await self._store.read(lambda tx: tx.find(Job, state=list(OPEN), order_by="create_date"))
        for row in rows:
            message, error = _read(row)
            if error is not None:
                _log.error("job.unreadable", job=row.uuid, api=row.api, error=str(error))
            opened = _Open(
                id=JobId(row.uuid),
                api=row.api,
                message=message,
                actor=row.account_uuid,
                timeout_seconds=row.timeout_seconds,
                resumed=True,
                begun=row.uuid in begun or error is not None,
                cancelled=row.cancel_requested,
                error=error,
            )
            self._enqueue(opened)
        return len(rows)

    async def stop(self) -> None:
        """Drop all jobs where they stand; the next start takes them up again. Stops the workflow engine, too."""
        self._stopping = True
        if self._flows is not None:
            await self._flows.stop()  # first: else their callers' end would have them undone
        tasks = [opened.task for opened in self._open.values() if opened.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._wheel.stop()
        for opened in self._open.values():
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


def _turn_of(message: ApiCommand[object]) -> str | None:
    """The queue in which a call that is one transaction takes its turn; None: it need not wait for anything."""
    if message.route is None or not message.takes_turn:
        return None
    return f"{tag_of(message).partition('.')[0]}:{getattr(message, message.route)}"


def _is_open(tx: Tx, job: JobId) -> bool:
    row = tx.get(Job, job)
    return row is not None and row.state in OPEN


def _decode(row: Job) -> ApiCommand[object]:
    kind = message_type(row.tag)
    message: ApiCommand[object] = msgspec.json.decode(row.request, type=kind)
    return message


def _read(row: Job) -> tuple[ApiCommand[object] | None, CairnError | None]:
    """The call of a job, or why there is none any more."""
    try:
        return _decode(row), None
    except (CairnError, msgspec.MsgspecError) as error:
        return None, CairnError(
            "job.unreadable",
            f"The call {row.api} was accepted by another version of cairn, or with a plugin that is not there any more, and "
            "cannot be read now. What was done of it is undone. Make the call again once its plugin is back.",
            kind=ErrorKind.CONFLICT,
            operator=str(error),
        )


def _unreadable(opened: _Open, undone: CairnError) -> CairnError:
    """What a job fails with whose call could not be read, once its runs were undone with the error `undone`."""
    assert opened.error is not None
    if "undoPending" in undone.details:
        opened.error.details["undoPending"] = undone.details["undoPending"]
    return opened.error


def _cancelled() -> CairnError:
    return CairnError(
        "job.cancelled", "The job was cancelled, and what it had done is undone.", kind=ErrorKind.CANCELLED
    )


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _digest(message: ApiCommand[object], actor: str | None) -> str:
    """A digest that tells a repetition of a call from another call. Secrets are left out, as it outlives the job."""
    kind = type(message)
    told = msgspec.to_builtins(message)
    for name in secret_fields(kind):
        told.pop(name, None)
    known = msgspec.json.encode([told, actor], order="sorted")
    return hashlib.blake2b(known, digest_size=16).hexdigest()
