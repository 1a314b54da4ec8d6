"""Watches the machines of one kind: pings them, notices lost and returned ones, and passes on what they answer.

Pings
    Each machine has a timer of its own on one wheel; the timers are spread over the interval. A ping waits for a place, of
    which there are ``ping.parallelismDegree``, and for nothing else: no queue, no reconnect, no write to the database. What
    an answer leads to is done after its place was given up, and at most once at a time for each machine. Machines that have
    failed a ping, and those that are lost, have as many places of their own, so a room full of dead ones delays neither the
    pings of the living nor the news of the next loss.

Losses
    A machine that fails as many pings in a row as its kind's ``ping.maxFailure`` says is Disconnected.

Reconnects
    A lost machine is connected again (which puts right what has to be there) as soon as its agent answers a ping again, and
    tried with growing pauses while it does not. One whose agent was started again is connected at once. Reconnects have
    ``reconnect.parallelismDegree`` places of their own; one that hangs takes one of them until its deadline, and nothing else.

The list
    Which machines there are, and which of them the ring gives to this node, is read once an interval as bare keys, right after
    one was connected, and when nodes come or go. The row of a machine is looked up when it is pinged. A machine that changes
    hands is pinged at once by its new owner: what the old one knew beyond the row (a failed ping) is found out again.

Other nodes
    A call to a machine may fail on a node that does not watch it. That node says so on the bus, and the one that watches it
    pings it now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from zlib import crc32

import structlog

from cairn.agents.protocol.wire import Pong
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.deadline import DeadlineWheel, Expiring
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.loop import Loops
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.messages import MachineSuspected
from cairn.kernel.machine.model import Machine, MachineStatus
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring, RingChange
from cairn.kernel.store.store import Store, Tx

_log = structlog.get_logger("cairn.machine")
_RECONNECT_SECONDS = 900.0
#: between two pings of a machine that has failed one
_DOUBT_SECONDS = 1.0
#: Half a second less than whole intervals, so that the ping at which a machine is tried again does not come just too early.
_EARLY_SECONDS = 0.5
_LONGEST_REASON = 2000


class _Watch(Expiring):
    """One machine: its timer, and the monitor's memory of it."""

    __slots__ = (
        "answers",
        "due",
        "failures",
        "losing",
        "new",
        "next_try",
        "pinging",
        "reconnecting",
        "since",
        "tries",
        "using",
        "uuid",
    )

    def __init__(self, uuid: str, at: float, due: Callable[[_Watch], None], *, new: bool) -> None:
        super().__init__(at)
        self.uuid = uuid
        self.due = due
        self.new = new  #: pinged at once, and from then on with the others, spread over the interval
        self.failures = 0  #: pings in a row
        self.answers = True  #: whether the last ping was answered
        self.tries = 0  #: reconnects in a row that failed
        self.next_try = 0.0
        self.since = at  #: when its last ping was due
        # what is going on: each of these at most once
        self.pinging = False
        self.using = False
        self.losing = False
        self.reconnecting = False

    def expire(self) -> None:
        """The next ping is due."""
        self.due(self)


_Then = Callable[[], Awaitable[None]]
_Failed = Callable[[Exception], None]
_Work = Callable[[], Awaitable[_Then | None]]


class _Places:
    """So many pieces of work at a time; the others wait in their order."""

    def __init__(
        self, most: Callable[[], int], start: Callable[[Coroutine[object, object, None]], None], failed: _Failed
    ) -> None:
        self._most = most
        self._start = start
        self._failed = failed
        self._taken = 0
        self._waiting: deque[_Work] = deque()

    def take(self, work: _Work) -> None:
        """Have `work` done as soon as there is a place. What it returns is done after the place was given up."""
        self._waiting.append(work)
        self._fill()

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def _fill(self) -> None:
        while self._waiting and self._taken < self._most():
            self._taken += 1
            self._start(self._do(self._waiting.popleft()))

    async def _do(self, work: _Work) -> None:
        try:
            try:
                then = await work()
            finally:
                self._taken -= 1
                self._fill()
            if then is not None:
                await then()
        except Exception as error:  # noqa: BLE001 (one machine's trouble is no other's, and its next ping comes)
            self._failed(error)


class MachineMonitor:
    """The watching of those machines of a kind that the ring gives to this node."""

    def __init__(
        self,
        *,
        client: MachineClient,
        node: NodeId,
        store: Store,
        bus: Bus,
        ring: Ring,
        clock: Clock,
        settings: GlobalConfig,
        loops: Loops,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._kind = client.kind
        self._node = node
        self._store = store
        self._bus = bus
        self._ring = ring
        self._clock = clock
        self._settings = settings
        self._log = _log.bind(kind=client.kind.noun)
        self._watches: dict[str, _Watch] = {}
        self._wheel = DeadlineWheel(clock)
        self._tasks = Tasks()
        self._running = False
        declared = client.kind.settings
        self._name = f"{client.kind.title} monitor"
        self._pings, self._doubts, self._lost, self._reconnects = (
            _Places(partial(settings.get, setting), self._spawn, partial(loops.failed, self._name))
            for setting in (*[declared.ping_parallelism] * 3, declared.reconnect_parallelism)
        )
        self._count = metrics.pings
        self._waited = metrics.ping_wait.of(client.kind.noun)
        self._list = loops.every(f"list of {client.kind.title}s", self._interval, self._read_list, at_once=True)
        ring.listen(self._members_changed)
        bus.subscribe(MachineSuspected, self._suspected_elsewhere, self._name)

    async def start(self) -> None:
        """Read which machines are lost, and begin to watch all of them."""
        await self._client.start(self.suspect, self.connected)
        self._settings.listen(self._kind.settings.ping_interval, self._interval_changed)
        self._running = True

    async def stop(self) -> None:
        """Cancel all pings and reconnects that are under way, and wait until they have ended."""
        self._running = False
        self._wheel.stop()
        for places in (self._pings, self._doubts, self._lost, self._reconnects):
            places.clear()
        await self._tasks.stop()

    def suspect(self, uuid: str, reason: str) -> None:
        """Ping a machine now, because a call to it failed."""
        watch = self._watches.get(uuid)
        if watch is None:
            if not self._is_ours(uuid) and self._running:
                self._spawn(self._bus.publish(MachineSuspected(noun=self._kind.noun, uuid=uuid, reason=reason)))
        elif not watch.pinging:
            self._log.info("machine.suspected", uuid=uuid, reason=reason)
            self._due(watch)

    async def _suspected_elsewhere(self, said: MachineSuspected) -> None:
        if said.noun == self._kind.noun and said.uuid in self._watches:
            self.suspect(said.uuid, said.reason)

    def connected(self, uuid: str) -> None:
        """Watch a machine from now on: its agent was just connected."""
        if self._running and self._is_ours(uuid) and uuid not in self._watches:
            self._watch(uuid, self._interval() * _share(uuid), new=False)

    # -- which machines -----------------------------------------------------------------------------------------------

    def _members_changed(self, change: RingChange) -> None:
        """Let go of machines that the ring gives to another node now, at once; those that it gives to this one are read."""
        for gone in [uuid for uuid in self._watches if not self._is_ours(uuid)]:
            self._wheel.discard(self._watches.pop(gone))
        self._list.wake()

    async def _read_list(self) -> None:
        """Begin to watch machines that are new here, and cease to watch those that are gone."""
        ours = {uuid for uuid in await self._store.read(self._kind.keys) if self._is_ours(uuid)}
        for gone in self._watches.keys() - ours:
            self._wheel.discard(self._watches.pop(gone))
        for uuid in ours - self._watches.keys():
            self._watch(uuid, 0.0, new=True)

    def _is_ours(self, uuid: str) -> bool:
        return self._ring.node_of(uuid) == self._node

    def _watch(self, uuid: str, seconds: float, *, new: bool) -> None:
        at = self._clock.monotonic() + seconds
        watch = self._watches[uuid] = _Watch(uuid, at, self._due, new=new)
        self._wheel.add(watch)

    # -- pings --------------------------------------------------------------------------------------------------------

    def _interval(self) -> float:
        return float(self._settings.get(self._kind.settings.ping_interval))

    def _interval_changed(self) -> None:
        self._list.wake()
        interval = self._interval()
        for watch in self._watches.values():
            self._set(watch, interval * _share(watch.uuid))

    def _set(self, watch: _Watch, seconds: float) -> None:
        """Have the machine pinged so many seconds from now."""
        self._wheel.discard(watch)
        watch.at = self._clock.monotonic() + seconds
        self._wheel.add(watch)

    def _due(self, watch: _Watch) -> None:
        if not self._running or self._watches.get(watch.uuid) is not watch:
            return
        self._set(watch, self._interval() * (_share(watch.uuid) if watch.new else 1.0))
        watch.new = False
        if not watch.pinging:
            watch.pinging = True
            watch.since = self._clock.monotonic()
            self._places(watch).take(partial(self._ping, watch))

    def _places(self, watch: _Watch) -> _Places:
        if not watch.failures:
            return self._pings
        most = self._settings.get(self._kind.settings.ping_failures)
        return self._doubts if watch.failures < most else self._lost

    async def _ping(self, watch: _Watch) -> _Then | None:
        """Ping once. What follows from it is returned, since others wait for the place."""
        asked_at = self._clock.now()
        if not watch.failures:
            self._waited.observe(self._clock.monotonic() - watch.since)
        seconds = float(self._settings.get(self._kind.settings.ping_timeout))
        try:
            pong = await self._client.ping(watch.uuid, timeout_seconds=seconds)
        except CairnError as error:
            self._count.add(self._kind.noun, "failed")
            return self._unanswered(watch, error.whole)
        else:
            self._count.add(self._kind.noun, "ok")
            return partial(self._answered, watch, pong, asked_at)
        finally:
            watch.pinging = False

    def _unanswered(self, watch: _Watch, reason: str) -> _Then | None:
        watch.failures += 1
        watch.answers = False
        if watch.failures < self._settings.get(self._kind.settings.ping_failures):
            self._set(watch, _DOUBT_SECONDS)
            return None
        return partial(self._silent, watch, reason)

    async def _silent(self, watch: _Watch, reason: str) -> None:
        """It has failed as many pings as is allowed: it is lost now, or has been for a while and may be tried again."""
        if watch.losing:
            return
        watch.losing = True
        try:
            row = await self._row(watch.uuid)
            if row is None or row.status is MachineStatus.CONNECTING:
                return
            if row.status is MachineStatus.DISCONNECTED:
                if self._kind.may_be_tried(row):
                    self._reconnect(watch, row)
                return
            self._log.warning("machine.lost", uuid=row.uuid, name=row.name, reason=reason)
            self._back_off(watch, tries=0)
            await self._write_lost(row.uuid, MachineStatus.CONNECTED, reason)
        finally:
            watch.losing = False

    async def _answered(self, watch: _Watch, pong: Pong, asked_at: datetime) -> None:
        """Use its answer; have it connected if it is lost, or if its agent was started again."""
        if not watch.answers:
            watch.answers, watch.failures, watch.next_try = True, 0, 0.0
        row = await self._row(watch.uuid)
        if row is None or row.status is MachineStatus.CONNECTING:
            return
        if row.status is MachineStatus.DISCONNECTED:
            self._reconnect(watch, row)
        elif not self._kind.is_known(row, pong):
            self._log.info("machine.agent-restarted", uuid=row.uuid, name=row.name)
            self._reconnect(watch, row)
        elif not watch.using:
            watch.using = True
            try:
                await self._kind.pinged(self._client, row, pong, asked_at)
            finally:
                watch.using = False

    async def _row(self, uuid: str) -> Machine | None:
        found: Machine | None = await self._store.look(lambda tx: tx.get(self._kind.record, uuid))
        return found

    # -- reconnects ---------------------------------------------------------------------------------------------------

    def _reconnect(self, watch: _Watch, row: Machine) -> None:
        """Have it connected, unless it was tried a short while ago, or a lost one is to be left alone."""
        lost = row.status is MachineStatus.DISCONNECTED
        if lost and not self._settings.get(self._kind.settings.auto_reconnect):
            return
        if not watch.reconnecting and self._clock.monotonic() >= watch.next_try:
            watch.reconnecting = True
            self._reconnects.take(partial(self._reconnect_now, watch))

    async def _reconnect_now(self, watch: _Watch) -> None:
        uuid = watch.uuid
        try:
            await self._bus.call(self._kind.reconnecting(uuid), timeout_seconds=_RECONNECT_SECONDS)
            watch.tries, watch.next_try, watch.failures, watch.answers = 0, 0.0, 0, True
        except CairnError as error:
            self._log.info("machine.still-lost", uuid=uuid, error=str(error))
            self._back_off(watch, tries=watch.tries + 1)
            reason = f"{error.whole}{f' {error.cause.whole}' if error.cause else ''}"
            await self._write_lost(uuid, MachineStatus.DISCONNECTED, reason)
        finally:
            watch.reconnecting = False

    def _back_off(self, watch: _Watch, *, tries: int) -> None:
        interval = self._interval()
        longest = float(self._settings.get(self._kind.settings.reconnect_max_interval))
        watch.tries = tries
        pause = min(interval * 2.0 ** min(tries, 10), max(interval, longest))
        watch.next_try = self._clock.monotonic() + pause - _EARLY_SECONDS

    async def _write_lost(self, uuid: str, was: MachineStatus, reason: str) -> None:
        """Write down that it is lost, and why, unless its status is another by now than it `was`."""

        def fn(tx: Tx) -> None:
            row: Machine | None = tx.get(self._kind.record, uuid, lock=True)
            if row is not None and row.status is was:
                self._kind.set_status(tx, uuid, MachineStatus.DISCONNECTED, reason[:_LONGEST_REASON])
                tx.after_commit(lambda: self._client.lost(uuid, reason))

        await self._store.write(fn)

    # -- tasks --------------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.start(work, self._name)


def _share(uuid: str) -> float:
    """The machine's share of the interval: where in it, from 0 to 1, its pings lie."""
    return crc32(uuid.encode()) / 2**32
