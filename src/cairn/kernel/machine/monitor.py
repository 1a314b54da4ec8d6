"""Watches the machines of one kind: pings them, notices lost and returned ones, and passes on what they answer.

A machine that fails as many pings in a row as its kind's ``ping.maxFailure`` says is Disconnected. From then on it is tried again
with growing pauses, and reconnected (which puts right what has to be there) when its agent answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import structlog

from cairn.agents.protocol.wire import Pong
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import NOWHERE, entered
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.machine.model import Machine, MachineStatus
from cairn.kernel.ring import Ring
from cairn.kernel.store.store import Store

_log = structlog.get_logger("cairn.machine")
_RECONNECT_SECONDS = 900.0


class _Watch:
    """The monitor's memory of a machine between two rounds."""

    def __init__(self) -> None:
        self.tries = 0
        self.next_try = 0.0
        self.busy = False


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Read which machines are lost, and begin to ping the others."""
        await self._client.start(self.suspect)
        self._settings.listen(self._kind.settings.ping_interval, self._wake.set)
        self._loop = asyncio.get_running_loop().create_task(self._run(), name=f"{self._kind.title} monitor")

    async def stop(self) -> None:
        """Cancel all pings and reconnects that are under way, and wait until they have ended."""
        tasks = [task for task in (self._loop, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def suspect(self, uuid: str, reason: str) -> None:
        """Ping a machine now, because a call to it failed."""
        watch = self._watches.get(uuid)
        if watch is not None and not watch.busy and self._loop is not None:
            self._log.info("machine.suspected", uuid=uuid, reason=reason)
            self._spawn(self._look(uuid, watch))

    async def _run(self) -> None:
        while True:
            with entered(NOWHERE):
                try:
                    await self._round()
                except CairnError as error:
                    self._log.warning("machine.round-failed", error=str(error))
            interval = float(self._settings.get(self._kind.settings.ping_interval))
            timer = self._clock.call_later(interval, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()

    async def _round(self) -> None:
        """Ping every machine that is ours, a bounded number at a time."""
        rows = await self._store.read(self._kind.watched)
        ours = {row.uuid for row in rows if self._ring.node_of(row.uuid) == self._node}
        for gone in self._watches.keys() - ours:
            del self._watches[gone]
        gate = asyncio.Semaphore(self._settings.get(self._kind.settings.ping_parallelism))

        async def one(uuid: str) -> None:
            async with gate:
                watch = self._watches.setdefault(uuid, _Watch())
                if not watch.busy:
                    await self._look(uuid, watch)

        await asyncio.gather(*(one(uuid) for uuid in ours))

    async def _look(self, uuid: str, watch: _Watch) -> None:
        watch.busy = True
        try:
            await self._look_once(uuid, watch)
        except CairnError as error:
            self._log.warning("machine.look-failed", uuid=uuid, error=str(error))
        finally:
            watch.busy = False

    async def _look_once(self, uuid: str, watch: _Watch) -> None:
        row = await self._store.read(lambda tx: tx.get(self._kind.record, uuid))
        if row is None or row.status is MachineStatus.CONNECTING:
            return
        if row.status is MachineStatus.DISCONNECTED:
            await self._try_reconnect(row, watch)
            return
        asked_at = self._clock.now()
        pong = await self._ping(row, watch)
        if pong is None:
            return
        if self._kind.is_known(row, pong):
            await self._kind.pinged(self._client, row, pong, asked_at)
        else:
            self._log.info("machine.agent-restarted", uuid=uuid, name=row.name)
            await self._reconnect(row)

    async def _ping(self, row: Machine, watch: _Watch) -> Pong | None:
        """Ping until it answers or has failed as often as is allowed."""
        left = self._settings.get(self._kind.settings.ping_failures)
        while True:
            try:
                seconds = float(self._settings.get(self._kind.settings.ping_timeout))
                return await self._client.ping(row.uuid, timeout_seconds=seconds)
            except CairnError as error:
                left -= 1
                if left <= 0:
                    self._log.warning("machine.lost", uuid=row.uuid, name=row.name, reason=error.whole)
                    await self._lose(row, watch, error.whole, tries=0)
                    return None
            await self._clock.sleep(1.0)

    async def _try_reconnect(self, row: Machine, watch: _Watch) -> None:
        wanted = self._settings.get(self._kind.settings.auto_reconnect)
        if not wanted or self._clock.monotonic() < watch.next_try:
            return
        try:
            await self._reconnect(row)
        except CairnError as error:
            self._log.info("machine.still-lost", uuid=row.uuid, name=row.name, error=str(error))
            reason = f"{error.whole}{f' {error.cause.whole}' if error.cause else ''}"
            await self._lose(row, watch, reason, tries=watch.tries + 1)
        else:
            watch.tries = 0

    async def _lose(self, row: Machine, watch: _Watch, reason: str, *, tries: int) -> None:
        """Note that it is lost, and when it is tried again."""
        watch.tries = tries
        watch.next_try = self._clock.monotonic() + self._pause(tries)
        self._client.lost(row.uuid, reason)
        status = MachineStatus.DISCONNECTED
        await self._store.write(lambda tx: self._kind.set_status(tx, row.uuid, status, reason[:2000]))

    def _pause(self, tries: int) -> float:
        interval = float(self._settings.get(self._kind.settings.ping_interval))
        longest = float(self._settings.get(self._kind.settings.reconnect_max_interval))
        # Half a second less than whole intervals, so that the next round does not come just too early.
        return float(min(interval * 2 ** min(tries, 10), max(interval, longest))) - 0.5

    async def _reconnect(self, row: Machine) -> None:
        await self._bus.call(self._kind.reconnecting(row.uuid), timeout_seconds=_RECONNECT_SECONDS)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"look at {self._kind.title}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
