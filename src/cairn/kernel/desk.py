"""The desk where calls are taken, and where people ask for jobs: the same on every node.

A call is worked on by the node that owns its key. That node also accepts it: the desk hands it on and waits for the word that
it is durable, so a job is never a row that nobody knows. If nodes come or go meanwhile, the desk looks for the owner again;
accepting is safe to repeat, as the same id with the same call is the same job.

Who waits for a job waits at the node that works on it. Its row says which; when it changes hands, the desk looks again.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from msgspec import Meta, Struct
from msgspec.structs import replace

from cairn.kernel.api import ApiCommand
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import Origin, current, entered
from cairn.kernel.bus.handlers import handles
from cairn.kernel.bus.message import Command, Query, decode_message, encode_message
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.bus.transport import NOT_OWNER
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId, is_uuid
from cairn.kernel.job import OPEN, Job, JobState, key_of
from cairn.kernel.jobs import Jobs, Progress
from cairn.kernel.open_jobs import OpenJob, Waiter, named
from cairn.kernel.ownership import Ownership, take
from cairn.kernel.resource import Resource
from cairn.kernel.store.store import Store, Tx

_log = structlog.get_logger("cairn.jobs")
#: how often the owner of a call's key is looked for, and the pause between
_ATTEMPTS = 40
_PAUSE_SECONDS = 0.25
#: the longest that another node is asked to wait for a job's end at a time
_WAIT_SECONDS = 60.0
#: for an answer that needs no waiting
_ASK_SECONDS = 5.0
#: errors of calls to another node after which the owner is looked for again
_LOOK_AGAIN = frozenset({NOT_OWNER, "bus.node-gone", "bus.stopped", "bus.deadline-passed", "ring.empty"})
#: created resources that are remembered, so that they are not looked up again
_MOST_MADE = 10_000


class Accepted(Struct, frozen=True, kw_only=True):
    """What became of a call."""

    fresh: bool  #: it had not been accepted before


class AcceptCall(Command[Accepted], frozen=True, kw_only=True, tag="job.accept"):
    """Accept a call that came in at another node. Safe to repeat."""

    job: JobId
    call: bytes  #: the message, as it goes over the bus
    actor: str | None
    timeout_seconds: float
    admin: bool
    origin: Origin | None = None


class Standing(Struct, frozen=True, kw_only=True):
    """How a job stands on the node that was asked."""

    here: bool  #: it is open, and here
    running: bool = False
    progress: Progress | None = None


class GetStanding(Query[Standing], frozen=True, kw_only=True, tag="job.standing"):
    """How a job stands on a node, at once or when it ends within `wait_seconds`."""

    job: JobId
    wait_seconds: Annotated[float, Meta(ge=0, le=_WAIT_SECONDS)] = 0.0


class CancelJob(Command[Standing], frozen=True, kw_only=True, tag="job.cancel"):
    """Ask a job to end whose row is marked already. Safe to repeat."""

    job: JobId


class TakeJob(Command[Standing], frozen=True, kw_only=True, tag="job.take"):
    """Take a job from the node that sends this and has not begun it. Safe to repeat."""

    job: JobId


class JobDesk:
    """Accepts calls and answers for jobs, wherever they are worked on.

    Args:
        jobs: those of this node.
        owners: which node a key belongs to.
    """

    def __init__(self, *, jobs: Jobs, store: Store, bus: Bus, clock: Clock, owners: Ownership) -> None:
        self._jobs = jobs
        self._store = store
        self._bus = bus
        self._clock = clock
        self._owners = owners
        self._tasks = Tasks()
        self._made: dict[str, None] = {}  #: resources whose creation is known to have ended
        jobs.join(self)
        bus.serve(self)

    async def stop(self) -> None:
        """End what is under way between nodes. Safe to repeat."""
        await self._tasks.stop()

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
        """Accept a call, on the node that owns its key. Arguments, errors and repeating: as `Jobs.submit`.

        Raises:
            CairnError: ``job.no-owner`` when none was found in time: it is not known whether it was accepted; repeat it with
                the same id.
        """
        key = key_of(message, job)
        for _ in range(_ATTEMPTS):
            try:
                owner = self._owners.owner_of(key)
                if owner == self._owners.node:
                    return await self._jobs.submit(
                        job, message, actor=actor, timeout_seconds=timeout_seconds, admin=admin
                    )
                call = AcceptCall(
                    job=job,
                    call=encode_message(message),
                    actor=actor,
                    timeout_seconds=timeout_seconds,
                    admin=admin,
                    origin=current().origin,
                )
                return (await self._bus.ask(owner, call, timeout_seconds=_ASK_SECONDS)).fresh
            except CairnError as error:
                if error.code not in _LOOK_AGAIN:
                    raise
            await self._clock.sleep(_PAUSE_SECONDS)
        raise CairnError(
            "job.no-owner",
            f"No node was found in time that takes the job {job}, because nodes are joining or leaving. Make the call again "
            "in a moment, with the same job id.",
            kind=ErrorKind.UNAVAILABLE,
        )

    @handles(AcceptCall)
    async def accept(self, message: AcceptCall) -> Accepted:
        """Accept a call that came in at another node."""
        call = decode_message(message.call)
        assert isinstance(call, ApiCommand), "nothing else is sent"
        with entered(replace(current(), origin=message.origin)):
            fresh = await self._jobs.submit(
                message.job,
                call,
                actor=message.actor,
                timeout_seconds=message.timeout_seconds,
                admin=message.admin,
            )
        return Accepted(fresh=fresh)

    # -- looking ----------------------------------------------------------------------------------------------------

    async def look(self, job: JobId, wait_seconds: float = 0.0) -> Job:
        """The job as it is, or as it is when it ends within `wait_seconds` (``job.not-found``)."""
        until = self._clock.monotonic() + wait_seconds
        if wait_seconds > 0 and (ended := await self._jobs.wait(job, wait_seconds)) is not None:
            return ended
        while True:
            row = await self._row(job)
            left = until - self._clock.monotonic()
            if row.state not in OPEN or left <= 0 or self._jobs.stopping:
                break
            await self._wait(row, left)
        if row.state is JobState.WAITING and self._jobs.is_running(job):
            return replace(row, state=JobState.RUNNING)
        return row

    def watch(self, job: JobId, waiter: Waiter) -> bool:
        """Wake `waiter` once, when a job of this node ends or goes to another one. False: it is not here."""
        return self._jobs.watch(job, waiter)

    def unwatch(self, job: JobId, waiter: Waiter) -> None:
        """Do not wake it any more. Safe to repeat."""
        self._jobs.unwatch(job, waiter)

    async def progress(self, row: Job) -> Progress | None:
        """The step that a running job is at; None when it waits, has ended, or its node does not answer."""
        job = JobId(row.uuid)
        if self._is_here(row) or row.state not in OPEN:
            return self._jobs.progress(job)
        try:
            return (await self._bus.ask(row.node_uuid, GetStanding(job=job), timeout_seconds=_ASK_SECONDS)).progress
        except CairnError:
            return None

    @handles(GetStanding)
    async def standing(self, message: GetStanding) -> Standing:
        """How a job stands here."""
        if message.wait_seconds > 0:
            await self._jobs.wait(message.job, message.wait_seconds)
        return self._standing(message.job)

    def _standing(self, job: JobId) -> Standing:
        return Standing(here=self._jobs.has(job), running=self._jobs.is_running(job), progress=self._jobs.progress(job))

    async def _row(self, job: JobId) -> Job:
        row = await self._store.look(lambda tx: tx.get(Job, job))
        if row is None:
            raise CairnError(
                "job.not-found",
                f"There is no job {job!r}. It was never accepted, or it ended and its time of keeping is over.",
                kind=ErrorKind.NOT_FOUND,
            )
        return row

    def _is_here(self, row: Job) -> bool:
        return row.node_uuid == self._owners.node or self._jobs.has(JobId(row.uuid))

    async def _wait(self, row: Job, seconds: float) -> None:
        """Wait for the end of an open job, on the node that has it; a while, if no node has it now."""
        job = JobId(row.uuid)
        if self._jobs.has(job):
            await self._jobs.wait(job, seconds)
            return
        seconds = min(seconds, _WAIT_SECONDS)
        here = False
        if row.node_uuid != self._owners.node:
            asked = GetStanding(job=job, wait_seconds=seconds)
            try:
                here = (await self._bus.ask(row.node_uuid, asked, timeout_seconds=seconds + _ASK_SECONDS)).here
            except CairnError as error:
                _log.info("job.node-silent", job=job, node=row.node_uuid, error=str(error))
        if not here:  # it has ended, or is changing hands
            await self._pause(job, seconds)

    async def _pause(self, job: JobId, seconds: float) -> None:
        if (await self._row(job)).state in OPEN:
            await self._clock.sleep(min(seconds, 4 * _PAUSE_SECONDS))

    # -- cancelling -------------------------------------------------------------------------------------------------

    async def cancel(self, job: JobId) -> None:
        """Ask a job to end; what it did is undone. One that has ended stays as it is. Safe to repeat.

        Raises:
            CairnError: ``job.not-found``.
        """
        row = await self._row(job)
        if row.state not in OPEN:
            return
        await self._store.write(lambda tx: tx.update(Job, job, cancel_requested=True))
        for _ in range(_ATTEMPTS):
            if self._jobs.cancel(job) or await self._is_told(row):
                return
            row = await self._row(job)
            if row.state not in OPEN:
                return
            await self._clock.sleep(_PAUSE_SECONDS)
        _log.warning("job.cancel-untold", job=job, node=row.node_uuid)  # who takes it over reads the mark

    async def _is_told(self, row: Job) -> bool:
        """Whether the node of a job was told to end it."""
        if row.node_uuid == self._owners.node:
            return False
        try:
            return (
                await self._bus.ask(row.node_uuid, CancelJob(job=JobId(row.uuid)), timeout_seconds=_ASK_SECONDS)
            ).here
        except CairnError:
            return False

    @handles(CancelJob)
    async def cancel_here(self, message: CancelJob) -> Standing:
        """Ask a job that is here to end."""
        self._jobs.cancel(message.job)
        return self._standing(message.job)

    # -- what jobs need of other nodes ------------------------------------------------------------------------------

    def holds_up(self, opened: OpenJob) -> bool:
        """Whether a job may have to wait for a creation on another node."""
        if len(self._owners.alive) < 2 or opened.message is None:
            return False
        names = [name for name in named(opened.message) if is_uuid(name) and name not in self._made]
        away = [name for name in names if self._owners.owner_of(name) != self._owners.node]
        if away:
            self._tasks.start(self._await_creations(opened, away), f"creations before job {opened.id}")
        return bool(away)

    async def _await_creations(self, opened: OpenJob, names: list[str]) -> None:
        try:
            for name in names:
                await self._await_creation(name, opened.id)
        except CairnError as error:
            _log.warning("job.creation-unseen", job=opened.id, error=str(error))  # its own look tells what is missing
        self._jobs.arrived(opened)

    async def _await_creation(self, uuid: str, job: JobId) -> None:
        """Wait until the creation of a resource has ended, if it is open. The resource is remembered then."""

        def fn(tx: Tx) -> Job | None:
            resource = tx.get(Resource, uuid)
            made_by = None if resource is None else resource.job_uuid
            return None if made_by is None or made_by == job else tx.get(Job, made_by)

        while (creation := await self._store.read(fn)) is not None and creation.state in OPEN:
            if creation.ring_key != uuid:
                return  # made by a call that is about something else: nobody waits for it on one node either
            await self._wait(creation, _WAIT_SECONDS)
        self._made[uuid] = None
        if len(self._made) > _MOST_MADE:
            del self._made[next(iter(self._made))]

    def give(self, opened: OpenJob) -> None:
        """Have the node take a job that owns its key now."""
        self._tasks.start(self._give(opened), f"give job {opened.id} away")

    async def _give(self, opened: OpenJob) -> None:
        """Until it is another node's, has ended, or is this one's again."""
        while not await self._is_given(opened):
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _is_given(self, opened: OpenJob) -> bool:
        try:
            row = await self._row(opened.id)
            if row.state not in OPEN or row.claim != opened.claim:
                return True
            owner = self._owners.owner_of(opened.ring_key)
            if owner == self._owners.node:
                self._jobs.take_back(opened)
                return True
            return (await self._bus.ask(owner, TakeJob(job=opened.id), timeout_seconds=_ASK_SECONDS)).here
        except CairnError as error:
            _log.info("job.not-given", job=opened.id, error=str(error))
            return False

    @handles(TakeJob)
    async def take(self, message: TakeJob) -> Standing:
        """Take a job that another node has not begun."""
        job, node = message.job, self._owners.node

        def fn(tx: Tx) -> Job | None:
            row = tx.get(Job, job)
            if row is None or row.state not in OPEN or row.node_uuid == node:
                return None
            epoch = self._owners.begin(tx, row.ring_key)
            return replace(row, node_uuid=node, epoch=epoch) if take(tx, Job, row.claim, node, epoch) else None

        row = await self._store.write(fn)
        if row is not None:
            self._jobs.adopt([row])
        return self._standing(job)
