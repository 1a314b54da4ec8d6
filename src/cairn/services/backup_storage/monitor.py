"""Watches backup storages: pings them, notices lost and returned ones, and keeps their free space true.

One that fails ``backupStorage.ping.maxFailure`` pings in a row is Disconnected. From then on it is tried again with
growing pauses, and reconnected when its agent answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import structlog

from cairn.agents.protocol.storage import GetCapacity
from cairn.agents.protocol.wire import Pong
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import NOWHERE, entered
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring
from cairn.kernel.store.store import Store
from cairn.services.backup_storage import config
from cairn.services.backup_storage.directory import BackupStorageDirectory
from cairn.services.backup_storage.messages import ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage, BackupStorageStatus
from cairn.services.backup_storage.steps.connect import set_status

_log = structlog.get_logger("cairn.backup_storage.monitor")


class _Watch:
    """What is remembered of a backup storage between two rounds."""

    def __init__(self) -> None:
        self.tries = 0
        self.next_try = 0.0
        self.busy = False


class BackupStorageMonitor:
    """The watching of those backup storages that the ring gives to this node."""

    def __init__(
        self,
        *,
        node: NodeId,
        store: Store,
        bus: Bus,
        ring: Ring,
        clock: Clock,
        settings: GlobalConfig,
        events: Events,
        directory: BackupStorageDirectory,
    ) -> None:
        self._node = node
        self._store = store
        self._bus = bus
        self._ring = ring
        self._clock = clock
        self._settings = settings
        self._events = events
        self._directory = directory
        self._watches: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Begin watching."""
        await self._directory.start()
        self._settings.listen(config.PING_INTERVAL, self._wake.set)
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="backup storage monitor")

    async def stop(self) -> None:
        """Stop watching."""
        tasks = [task for task in (self._loop, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def suspect(self, storage: str, reason: str) -> None:
        """A call to it failed: look at it now."""
        watch = self._watches.get(storage)
        if watch is not None and not watch.busy and self._loop is not None:
            _log.info("backup-storage.suspected", backup_storage=storage, reason=reason)
            self._spawn(self._look(storage, watch))

    async def _run(self) -> None:
        while True:
            with entered(NOWHERE):
                try:
                    await self._round()
                except CairnError as error:
                    _log.warning("backup-storage.round-failed", error=str(error))
            timer = self._clock.call_later(float(self._settings.get(config.PING_INTERVAL)), self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()

    async def _round(self) -> None:
        """Ping every backup storage that is ours, a bounded number at a time."""
        rows = await self._store.read(lambda tx: tx.find(BackupStorage))
        ours = {row.uuid for row in rows if self._ring.node_of(row.uuid) == self._node}
        for gone in self._watches.keys() - ours:
            del self._watches[gone]
        gate = asyncio.Semaphore(self._settings.get(config.PING_PARALLELISM))

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
            _log.warning("backup-storage.look-failed", backup_storage=uuid, error=str(error))
        finally:
            watch.busy = False

    async def _look_once(self, uuid: str, watch: _Watch) -> None:
        row = await self._store.read(lambda tx: tx.get(BackupStorage, uuid))
        if row is None or row.status is BackupStorageStatus.CONNECTING:
            return
        if row.status is BackupStorageStatus.DISCONNECTED:
            await self._try_reconnect(row, watch)
            return
        pong = await self._ping(row, watch)
        if pong is None:
            return
        if pong.boot != row.agent_boot:
            _log.info("backup-storage.agent-restarted", backup_storage=uuid, name=row.name)
            await self._reconnect(row)
        else:
            await self._measure(row)

    async def _ping(self, row: BackupStorage, watch: _Watch) -> Pong | None:
        """Ping until it answers or has failed as often as is allowed."""
        left = self._settings.get(config.PING_FAILURES)
        while True:
            try:
                return await self._directory.ping(
                    row.uuid, timeout_seconds=float(self._settings.get(config.PING_TIMEOUT))
                )
            except CairnError as error:
                left -= 1
                if left <= 0:
                    await self._lose(row, watch, error.message)
                    return None
            await self._clock.sleep(1.0)

    async def _lose(self, row: BackupStorage, watch: _Watch, reason: str) -> None:
        _log.warning("backup-storage.lost", backup_storage=row.uuid, name=row.name, reason=reason)
        watch.tries = 0
        watch.next_try = self._clock.monotonic() + self._pause(watch)
        await self._note_loss(row.uuid, reason)

    async def _note_loss(self, uuid: str, reason: str) -> None:
        self._directory.lost(uuid, reason)
        status = BackupStorageStatus.DISCONNECTED
        await self._store.write(lambda tx: set_status(tx, self._events, uuid, status, reason[:2000]))

    async def _measure(self, row: BackupStorage) -> None:
        """Ask how full it is."""
        capacity = await self._directory.call(row.uuid, GetCapacity(path=row.url))
        total, available = capacity.total_bytes, capacity.available_bytes
        if (total, available) != (row.total_capacity, row.available_capacity):
            await self._store.write(
                lambda tx: tx.update(BackupStorage, row.uuid, total_capacity=total, available_capacity=available)
            )

    def _pause(self, watch: _Watch) -> float:
        interval = float(self._settings.get(config.PING_INTERVAL))
        longest = float(self._settings.get(config.RECONNECT_MAX_INTERVAL))
        # Half a second less than whole intervals, so that the round that is due does not come just too early.
        return float(min(interval * 2 ** min(watch.tries, 10), max(interval, longest))) - 0.5

    async def _try_reconnect(self, row: BackupStorage, watch: _Watch) -> None:
        if not self._settings.get(config.AUTO_RECONNECT) or self._clock.monotonic() < watch.next_try:
            return
        try:
            await self._reconnect(row)
        except CairnError as error:
            watch.tries += 1
            watch.next_try = self._clock.monotonic() + self._pause(watch)
            _log.info("backup-storage.still-lost", backup_storage=row.uuid, name=row.name, error=str(error))
            await self._note_loss(row.uuid, f"{error.message}{f' {error.cause.message}' if error.cause else ''}")
        else:
            watch.tries = 0

    async def _reconnect(self, row: BackupStorage) -> None:
        await self._bus.call(ReconnectBackupStorage(uuid=row.uuid), timeout_seconds=900.0)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="look at backup storage")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
