"""Resource queues: everything that is done to one resource takes its turn in the resource's queue.

There are no locks in cairn. Work on a resource runs on the node that owns it, in the queue under its key, first in
first out, one at a time.

What many accounts use at the same time, such as the agent of a host, has a shared queue of N places (`run` is given a
callable, or a number above 1): there accounts take turns (`cairn.kernel.turns`), and none has more than three quarters of
the places, so that ten calls of one that take a minute do not keep others waiting. The cloud's own work is held to no
share. The number is read whenever a place is given away, so that a changed setting takes effect at once.

Each entry is answered exactly once: by its work, by its cancellation, or, while it waits, by its deadline. An entry
that leaves while it waits frees nothing and holds up no other. A place is handed from the work that ends to the entry
that is next in the same turn of the loop, so nobody can slip in between.

Work runs in the task that asked for it. If it asks, through whatever calls, for a key that it holds already, it would
wait for itself: the turns held are part of the context, and asking again is refused. A key with parallelism above 1 is
refused as well: with all places taken by such work it would wait just the same. A task that was started by the work and
outlives it may ask again once the work has ended, and a job that it started waits for its turn like any other.

A place may be kept (`ResourceQueues.keep`) for work that is begun later: after a restart, the runs that a former process
left half done have their places before anything else may ask for one. In a shared queue it counts in the share of the account
that the run is for, like any other.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from msgspec import Struct

from cairn.kernel.bus.context import CallContext, current
from cairn.kernel.bus.deadline import DeadlineWheel, Expiring, is_watched, watch_expired
from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId
from cairn.kernel.metrics import Metrics, Series
from cairn.kernel.turns import Pool, Turn, Turns

T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 1800.0


class QueueEntry(Struct, frozen=True, kw_only=True):
    """One piece of work in a queue, as the API shows it."""

    name: str
    job: JobId | None
    #: seconds that it has been waiting or running
    seconds: float


class QueueReport(Struct, frozen=True, kw_only=True):
    """One queue, as the API shows it."""

    key: str
    parallelism: int
    running: list[QueueEntry]
    waiting: list[QueueEntry]


class _Entry(Expiring):
    """One piece of work: first waiting, then running."""

    __slots__ = ("actor", "job", "name", "queue", "since", "turn")

    def __init__(self, queue: _Queue, name: str, context: CallContext, since: float, at: float) -> None:
        super().__init__(at)
        self.queue = queue
        self.name = name
        self.job = context.job
        self.actor = context.actor
        self.since = since
        self.turn: asyncio.Future[None] | None = None

    def expire(self) -> None:
        """Its deadline passed while it waited."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_exception(_deadline_passed(self))


_HELD: ContextVar[tuple[_Entry, ...]] = ContextVar("cairn-held-turns", default=())


class _Queue:
    """The entries of one key: one after another, or, where there are more places, in fair turns.

    Books of the turns are kept from the moment that one must wait. As long as nobody does, and fewer run than one account may
    have, there is nothing to be fair about.
    """

    __slots__ = ("_fair", "key", "parallelism", "running", "series", "waiting")

    def __init__(self, key: str, series: Series) -> None:
        self.key = key
        self.series = series
        self.parallelism: Callable[[], int] | int = 1
        self.running: dict[_Entry, None] = {}
        self.waiting: OrderedDict[_Entry, None] = OrderedDict()  # any entry may leave, and that must stay cheap
        self._fair: _Fair | None = None

    def places(self) -> int:
        """How many may run at once, as of now; at least 1."""
        limit = self.parallelism
        return max(1, limit if isinstance(limit, int) else limit())

    def _share(self) -> None:
        """Let accounts take turns from now on, with all that is here already."""
        self._fair = _Fair(self.key, self.places)
        for entry in self.running:
            self._fair.hold(entry)
        for entry in self.waiting:
            self._fair.wait(entry)

    def enter(self, entry: _Entry) -> None:
        """Give an entry a place if it may have one whoever asks; else let it wait for what `next` gives."""
        if self._fair is None and not self.waiting and len(self.running) < _share_of(self.places()):
            self.running[entry] = None
            return
        self.waiting[entry] = None
        if self._fair is not None:
            self._fair.wait(entry)
        elif self.parallelism != 1:
            self._share()

    def hold(self, entry: _Entry) -> None:
        """Give an entry a place at once, even beyond the parallelism."""
        self.running[entry] = None
        if self._fair is not None:
            self._fair.hold(entry)

    def next(self) -> _Entry | None:
        """Give a free place to the entry whose turn it is; None when there is none."""
        if self._fair is not None:
            entry = self._fair.take()
            if entry is None:
                return None
            del self.waiting[entry]
        elif self.waiting and len(self.running) < self.places():
            entry, _ = self.waiting.popitem(last=False)
        else:
            return None
        self.running[entry] = None
        return entry

    def leave(self, entry: _Entry) -> None:
        """Take an entry out, whether it waits or runs. Safe to repeat."""
        self.waiting.pop(entry, None)
        self.running.pop(entry, None)
        if self._fair is not None:
            self._fair.leave(entry)

    def changed(self) -> None:
        """Look again at how many places there are."""
        if self._fair is not None:
            self._fair.changed()


def _share_of(places: int) -> int:
    """How many places of a shared queue one account may have: a quarter is for others."""
    return places if places == 1 else places - max(1, places // 4)


class _Fair:
    """The turns of a queue that many accounts share."""

    __slots__ = ("_places", "_pool", "_turns", "_waiting")

    def __init__(self, key: str, places: Callable[[], int]) -> None:
        self._places = places
        self._pool = Pool(key, places, self._share)
        self._turns: dict[_Entry, Turn[_Entry]] = {}
        self._waiting: Turns[_Entry] = Turns([self._pool])

    def wait(self, entry: _Entry) -> None:
        """Let an entry wait for its turn."""
        self._waiting.add(self._turn(entry))

    def hold(self, entry: _Entry) -> None:
        """Count the place that an entry has, whatever the limits are."""
        self._waiting.hold(self._turn(entry))

    def take(self) -> _Entry | None:
        """Give a free place to the entry whose turn it is; None when there is none."""
        turn = self._waiting.take()
        return None if turn is None else turn.what

    def leave(self, entry: _Entry) -> None:
        """Take an entry out, whether it waits or runs. Safe to repeat."""
        turn = self._turns.pop(entry, None)
        if turn is not None:
            self._waiting.leave(turn)

    def changed(self) -> None:
        """Look again at how many places there are."""
        self._waiting.changed()

    def _turn(self, entry: _Entry) -> Turn[_Entry]:
        turn = self._turns[entry] = Turn(entry, entry.actor, (self._pool,), privileged=entry.actor is None)
        return turn

    def _share(self, privileged: bool) -> int:
        """How many places an account may have. The cloud's own work may have them all."""
        return self._places() if privileged else _share_of(self._places())


class ResourceQueues:
    """All queues of one node.

    Args:
        clock: for deadlines and for how long things wait.
        metrics: told of lengths and waiting, by the key's kind: the part before its colon.
        default_timeout: seconds to wait if there is neither a time-out nor a deadline; read at each call.
    """

    def __init__(
        self, clock: Clock, metrics: Metrics, *, default_timeout: Callable[[], float] = lambda: DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        self._clock = clock
        self._default_timeout = default_timeout
        self._metrics = metrics
        self._wheel = DeadlineWheel(clock)  # of waiting entries
        self._queues: dict[str, _Queue] = {}
        metrics.queue_running.read_from(lambda: self._by_kind(lambda queue: len(queue.running)))
        metrics.queue_waiting.read_from(lambda: self._by_kind(lambda queue: len(queue.waiting)))
        metrics.queue_keys.read_from(lambda: self._by_kind(lambda queue: 1))

    async def run(
        self,
        key: str,
        work: Callable[[], Awaitable[T]],
        *,
        name: str,
        parallelism: Callable[[], int] | int | None = None,
        timeout_seconds: float | None = None,
    ) -> T:
        """Wait for a turn in the queue `key`, do `work`, and return its result.

        Args:
            key: ``"vm:…"``, from `queue_key`.
            work: called when its turn has come; what it raises is raised here.
            name: says what is done, for reports and errors.
            parallelism: how many may run at once; a callable is asked at each turn. Below 1 counts as 1. With a callable,
                or a number above 1, accounts take turns. None: as those who came before have it, else 1.
            timeout_seconds: how long to wait for a turn, at most until the context's deadline. None: until that, or
                without one the default.

        Raises:
            CairnError: ``queue.deadline-passed`` while it waited; nothing was done.
                ``queue.would-deadlock``: this work holds `key` already.
        """
        held = _HELD.get()
        context = current()
        if held:
            _check_not_held(held, key, name, context.job)
        queue = self._queue(key)
        if parallelism is not None:
            queue.parallelism = parallelism
        now = self._clock.monotonic()
        entry = _Entry(queue, name, context, now, self._deadline(context, now, timeout_seconds))
        queue.enter(entry)
        if entry not in queue.running:
            self._dispatch(queue)
        if entry not in queue.running:
            await self._wait(queue, entry)
        queue.series.observe(entry.since - now)
        try:
            return await _within(entry, work)
        finally:
            self._free(entry)

    def keep(self, key: str, *, name: str, job: JobId | None, actor: str | None = None) -> Place:
        """Take a place in the queue `key` now, beyond its parallelism if need be, and keep it until `Place.leave`.

        Args:
            key: as in `run`.
            name: says what it is kept for, for reports and errors.
            job: the job that the work in this place belongs to.
            actor: the account that the work is for, in whose share the place counts; None: it is the cloud's own.
        """
        queue = self._queue(key)
        now = self._clock.monotonic()
        entry = _Entry(queue, name, CallContext(job=job, actor=actor), now, now)
        queue.hold(entry)
        return Place(entry, self._free)

    def _queue(self, key: str) -> _Queue:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(key, self._metrics.queue_wait.of(kind_of(key)))
        return queue

    def _free(self, entry: _Entry) -> None:
        if entry in entry.queue.running:
            self._leave(entry.queue, entry)

    def changed(self, prefix: str = "") -> None:
        """Look again at the parallelism of queues whose key begins with `prefix`. Call it after a setting changed."""
        for queue in [queue for key, queue in self._queues.items() if key.startswith(prefix)]:
            queue.changed()
            self._dispatch(queue)

    def inspect(self, prefix: str = "") -> list[QueueReport]:
        """Every queue that is not empty and whose key begins with `prefix`: what runs, what waits, since when."""
        now = self._clock.monotonic()
        return [
            QueueReport(
                key=key,
                parallelism=queue.places(),
                running=[_report(entry, now) for entry in queue.running],
                waiting=[_report(entry, now) for entry in queue.waiting],
            )
            for key, queue in self._queues.items()
            if key.startswith(prefix)
        ]

    def _deadline(self, context: CallContext, now: float, timeout_seconds: float | None) -> float:
        if timeout_seconds is None:
            return context.deadline if context.deadline is not None else now + self._default_timeout()
        own = now + timeout_seconds
        return own if context.deadline is None else min(own, context.deadline)

    async def _wait(self, queue: _Queue, entry: _Entry) -> None:
        """Wait for `entry`'s turn. If the task is watched for this deadline anyway, the wheel needs no entry."""
        turn = entry.turn = asyncio.get_running_loop().create_future()
        if not is_watched(entry.at):
            self._wheel.add(entry)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(queue, entry)
            if watch_expired():
                raise _deadline_passed(entry) from None
            raise
        except CairnError:
            self._leave(queue, entry)
            raise
        finally:
            self._wheel.discard(entry)

    def _leave(self, queue: _Queue, entry: _Entry) -> None:
        """Take out an entry that has ended, or no longer wants its turn, even if the turn has just come."""
        queue.leave(entry)
        self._dispatch(queue)

    def _dispatch(self, queue: _Queue) -> None:
        """Give free places to the next entries, and forget a queue in which nothing is left."""
        while queue.waiting and (entry := queue.next()) is not None:
            turn = entry.turn
            if turn is None:
                continue  # it has only just come, and goes on by itself
            if turn.done():
                queue.leave(entry)  # it was about to leave
                continue
            entry.since = self._clock.monotonic()
            turn.set_result(None)
        if not queue.running and not queue.waiting and self._queues.get(queue.key) is queue:
            del self._queues[queue.key]

    def _by_kind(self, number: Callable[[_Queue], int]) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for key, queue in self._queues.items():
            labels = (kind_of(key),)
            found[labels] = found.get(labels, 0) + number(queue)
        return found


class Place:
    """A place that is kept, whatever task works in it. Made by `ResourceQueues.keep`."""

    def __init__(self, entry: _Entry, free: Callable[[_Entry], None]) -> None:
        self._entry = entry
        self._free = free

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` in this place, and return its result. The place is still kept afterwards."""
        return await _within(self._entry, work)

    def leave(self) -> None:
        """Give the place to the next in the queue. Safe to repeat."""
        self._free(self._entry)


async def _within(entry: _Entry, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` as the holder of `entry`'s place."""
    token = _HELD.set((*_HELD.get(), entry))
    try:
        return await work()
    finally:
        _HELD.reset(token)


def queue_key(kind: str, uuid: str) -> str:
    """The key of a queue: what is done to the resource `uuid`, or a part of that which takes its turns apart.

    Args:
        kind: the resource's noun, ``host``, or the noun and the part, ``host-agent``. The noun alone is for the workflows and
            calls that are about the resource.
    """
    return f"{kind}:{uuid}"


def kind_of(key: str) -> str:
    """The part before the colon of a key: its label in metrics. Keys without a colon are ``other``."""
    kind, colon, _ = key.partition(":")
    return kind if colon else "other"


def resource_of(key: str) -> str:
    """What `queue_key` was given: the part behind the colon of a key."""
    return key.partition(":")[2]


def _check_not_held(held: tuple[_Entry, ...], key: str, name: str, job: JobId | None) -> None:
    """Refuse work that would wait for itself. Another job, started from within the work, only waits for its end."""
    for entry in held:
        if entry.queue.key == key and entry.job == job and entry in entry.queue.running:
            raise CairnError(
                "queue.would-deadlock",
                f"{name!r} asks for a turn in the queue {key!r} from within {entry.name!r}, which holds it and would "
                "wait for itself. Do the inner work without the queue.",
                kind=ErrorKind.INTERNAL,
                details={"key": key, "holds": entry.name, "asks": name},
            )


def _deadline_passed(entry: _Entry) -> CairnError:
    queue = entry.queue
    ahead = ", ".join(sorted({running.name for running in queue.running})) or "nothing"
    return CairnError(
        "queue.deadline-passed",
        f"{entry.name!r} did not get its turn before its deadline. Nothing of it was done; ask again later.",
        kind=ErrorKind.TIMEOUT,
        operator=f"In the queue {queue.key!r}, running there: {ahead}. Look at what takes so long.",
    )


def _report(entry: _Entry, now: float) -> QueueEntry:
    return QueueEntry(name=entry.name, job=entry.job, seconds=max(0.0, now - entry.since))
