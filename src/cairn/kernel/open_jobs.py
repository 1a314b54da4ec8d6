"""The open jobs of a node, and which of them begins next.

A job waits for its turn (`cairn.kernel.slots`). One that names a resource whose creation has not ended waits for that end
first. One that had begun, in an earlier run of the node or in an earlier try, waits for nothing.

Nothing is run here and no row is read: `cairn.kernel.jobs` does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Protocol, get_args, get_type_hints

import msgspec
from msgspec import Struct

from cairn.kernel.api import ApiCommand, ApiCreate
from cairn.kernel.bus.context import Origin
from cairn.kernel.clock import Clock
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError
from cairn.kernel.ids import JobId
from cairn.kernel.job import Job
from cairn.kernel.ownership import Claim
from cairn.kernel.slots import Slots
from cairn.kernel.turns import Turn


class Waiter(Protocol):
    """One that waits for the end of a job."""

    def wake(self, ended: Job | None = None) -> None:
        """Called once, when the job has ended or is on another node.

        Args:
            ended: its row, if it ended here and that is durable; None: look into the database.
        """


class _Wake:
    """A task that waits."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self, ended: Job | None = None) -> None:
        """Let it go on."""
        if not self.done.done():
            self.done.set_result(None)


class OpenJob(Struct, kw_only=True, eq=False):
    """A job of this node that has not ended."""

    id: JobId
    #: whose it is
    claim: Claim
    #: what the ring finds its node by
    ring_key: str
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
    turn: Turn[OpenJob] | None = None
    #: one, as nearly always, or several
    waiters: Waiter | set[Waiter] | None = None
    task: asyncio.Task[None] | None = None
    #: an earlier run of the node, or an earlier try, may have left a journal
    resumed: bool = False
    #: it left a journal, or an end that could not be written: it goes on without waiting for a place
    begun: bool = False
    cancelled: bool = False
    #: from its first to its last step of work its task may be cancelled; not before, and not while its end is written
    at_work: bool = False
    #: its end is durable
    finished: bool = False
    #: its row, without the request: as it began, and once it has finished as it ended
    row: Job | None = None
    #: what it failed with in a former try, whose end could not be written; or why it must not go on
    error: CairnError | None = None
    #: it waits for creations on other nodes before it may even wait for the others
    abroad: bool = False
    #: the creations that it waits for before it may begin
    ahead: set[JobId] = msgspec.field(default_factory=set)
    #: the jobs that wait for the end of this creation
    followers: dict[JobId, OpenJob] = msgspec.field(default_factory=dict)

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Wait until it ends, but no longer than `seconds`."""
        waiter = _Wake()
        self.watch(waiter)
        timer = clock.call_later(seconds, waiter.wake)
        try:
            await waiter.done
        finally:
            timer.cancel()
            self.unwatch(waiter)

    def watch(self, waiter: Waiter) -> None:
        """Wake it at the job's end."""
        there = self.waiters
        if there is None:
            self.waiters = waiter
        elif isinstance(there, set):
            there.add(waiter)
        else:
            self.waiters = {there, waiter}

    def unwatch(self, waiter: Waiter) -> None:
        """Do not wake it. Safe to repeat."""
        if isinstance(self.waiters, set):
            self.waiters.discard(waiter)
        elif self.waiters is waiter:
            self.waiters = None

    def wake(self) -> None:
        """Wake everything that waits for its end."""
        there, self.waiters = self.waiters, None
        ended = self.row if self.finished else None
        if isinstance(there, set):
            for waiter in there:
                waiter.wake(ended)
        elif there is not None:
            there.wake(ended)


@cache
def _texts(kind: type[ApiCommand[object]]) -> tuple[str, ...]:
    """The fields of a call in which a uuid may stand: texts and lists of texts."""
    hints = get_type_hints(kind)
    return tuple(name for name in kind.__struct_fields__ if _may_be_text(hints[name]))


def named(message: ApiCommand[object]) -> Iterator[str]:
    """The texts of a call that may be uuids of resources."""
    for name in _texts(type(message)):
        value = getattr(message, name)
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, str):
                yield one


def _may_be_text(hint: object) -> bool:
    hint = getattr(hint, "__supertype__", hint)  # of a NewType
    return hint in (str, object, Any) or any(_may_be_text(part) for part in get_args(hint))


class OpenJobs:
    """All jobs of a node from their acceptance to their end.

    Args:
        parallelism: how many run at a time.
        setting: the value of a setting, now.
    """

    def __init__(self, parallelism: Callable[[], int], setting: Callable[[Setting[int]], int]) -> None:
        self._open: dict[JobId, OpenJob] = {}
        self._slots: Slots[OpenJob] = Slots(parallelism, setting)
        self._creating: dict[str, OpenJob] = {}  #: by the resource that it makes

    # -- accepting ------------------------------------------------------------------------------------------------

    def check(self, message: ApiCommand[object], actor: str | None, *, admin: bool) -> None:
        """Refuse a call when too many jobs are open (``job.backlog-full``)."""
        self._slots.check(message, actor, admin=admin)

    def entering(self, actor: str | None) -> AbstractContextManager[None]:
        """Count a call of which it is not known yet whether it becomes a job."""
        return self._slots.entering(actor)

    def enter(self, job: OpenJob, now: float) -> None:
        """Let a job wait for its turn; one that had begun has its place at once. Then `take` until it gives nothing more."""
        if job.id not in self._open:
            self._open[job.id] = job
            self._slots.opened(job.actor)
        job.since = now
        message = job.message
        if job.begun:
            job.turn = self._slots.hold(job)
        elif job.abroad:
            pass
        elif message is not None and (creations := self._creations_ahead(job, message)):
            for creation in creations:
                job.ahead.add(creation.id)
                creation.followers[job.id] = job
        else:
            job.turn = self._slots.wait(job)
        if isinstance(message, ApiCreate) and message.resource_uuid is not None:
            self._creating[message.resource_uuid] = job

    def arrived(self, job: OpenJob, now: float) -> None:
        """What a job waited for on other nodes has ended. Safe to repeat. Then `take` until it gives nothing more."""
        if job.abroad:
            job.abroad = False
            self.enter(job, now)

    def _creations_ahead(self, job: OpenJob, message: ApiCommand[object]) -> list[OpenJob]:
        """The other open jobs that make the resources which a job's call names."""
        if not self._creating:
            return []
        ahead: dict[JobId, OpenJob] = {}
        for one in named(message):
            if (creation := self._creating.get(one)) is not None and creation is not job:
                ahead[creation.id] = creation
        return list(ahead.values())

    # -- turns ----------------------------------------------------------------------------------------------------

    def take(self) -> OpenJob | None:
        """Give a free place to the job that is next; None when none may have one."""
        return self._slots.take()

    def changed(self) -> None:
        """Look again at all settings. Then `take` until it gives nothing more."""
        self._slots.changed()

    def withdraw(self, job: OpenJob) -> bool:
        """Take a job out of whatever it waits for. Returns whether it waited."""
        if job.abroad:
            job.abroad = False
        elif job.ahead:
            for creation in job.ahead:
                self._open[creation].followers.pop(job.id)
            job.ahead.clear()
        elif job.turn is not None and self._slots.waits(job.turn):
            self._slots.leave(job.turn)
        else:
            return False
        return True

    def leave(self, job: OpenJob) -> None:
        """Give a job's place back. Safe to repeat. Then `take` until it gives nothing more."""
        if job.turn is not None:
            self._slots.leave(job.turn)

    def ended(self, job: OpenJob) -> None:
        """Forget a job that has ended, wake who waits for that, and let those begin that waited for what it made."""
        self.gone(job)
        for follower in self.let_go(job):
            follower.turn = self._slots.wait(follower)

    def gone(self, job: OpenJob) -> None:
        """Forget a job, and wake who waits for its end."""
        if self._open.pop(job.id, None) is not None:
            self._slots.ended(job.actor)
        job.wake()

    def let_go(self, job: OpenJob) -> list[OpenJob]:
        """The jobs that had waited for this one to make something, and wait for nothing else."""
        if isinstance(job.message, ApiCreate):
            self._creating.pop(job.message.resource_uuid or "", None)
        freed = []
        for follower in job.followers.values():
            follower.ahead.discard(job.id)
            if not follower.ahead:
                freed.append(follower)
        job.followers.clear()
        return freed

    # -- looking --------------------------------------------------------------------------------------------------

    def get(self, job: JobId) -> OpenJob | None:
        """The job with this id, if it is open."""
        return self._open.get(job)

    def __iter__(self) -> Iterator[OpenJob]:
        """All of them, in the order in which they came."""
        return iter(self._open.values())

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._slots.waiting

    @property
    def waiting_by_api(self) -> Mapping[str, int]:
        """How many wait, by the API's name."""
        return self._slots.waiting_by_api

    @property
    def oldest(self) -> OpenJob | None:
        """The one of those that wait that came first."""
        return self._slots.oldest
