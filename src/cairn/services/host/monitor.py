"""Watches hosts: pings them, notices lost and returned ones, and passes on what runs there.

A host that fails `host.ping.maxFailure` pings in a row is Disconnected. From then on it is tried again with growing
pauses; when its agent answers, it is reconnected (which puts agent, bridges and DHCP right) and its VMs are looked at.
A ping's answer carries the host's real VMs, so an event that got lost is made good within the interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime

import structlog

from cairn.agents.protocol.wire import Pong
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import NOWHERE, entered
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.ids import NodeId
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.ring import Ring
from cairn.kernel.store.store import Store
from cairn.services.host import config
from cairn.services.host.directory import HostDirectory
from cairn.services.host.extensions import HostPinged
from cairn.services.host.messages import ReconnectHost
from cairn.services.host.model import Host, HostState, HostStatus
from cairn.services.host.steps.connect import set_status

_log = structlog.get_logger("cairn.host.monitor")


class _Watch:
    """What is remembered of a host between two rounds."""

    def __init__(self) -> None:
        self.failures = 0
        self.tries = 0
        self.next_try = 0.0
        self.busy = False


class HostMonitor:
    """The watching of those hosts that the ring gives to this node."""

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
        extensions: Extensions,
        directory: HostDirectory,
    ) -> None:
        self._node = node
        self._store = store
        self._bus = bus
        self._ring = ring
        self._clock = clock
        self._settings = settings
        self._events = events
        self._extensions = extensions
        self._directory = directory
        self._watches: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Begin watching."""
        await self._directory.start()
        self._settings.listen(config.PING_INTERVAL, self._wake.set)
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="host monitor")

    async def stop(self) -> None:
        """Stop watching."""
        tasks = [task for task in (self._loop, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def suspect(self, host: str, reason: str) -> None:
        """A call to the host failed: look at it now."""
        watch = self._watches.get(host)
        if watch is not None and not watch.busy and self._loop is not None:
            _log.info("host.suspected", host=host, reason=reason)
            self._spawn(self._look(host, watch))

    async def _run(self) -> None:
        while True:
            with entered(NOWHERE):
                try:
                    await self._round()
                except CairnError as error:
                    _log.warning("host.round-failed", error=str(error))
            timer = self._clock.call_later(float(self._settings.get(config.PING_INTERVAL)), self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()

    async def _round(self) -> None:
        """Ping every host that is ours, a bounded number at a time."""
        hosts = await self._store.read(lambda tx: tx.find(Host, state=[HostState.ENABLED, HostState.DISABLED]))
        ours = {host.uuid for host in hosts if self._ring.node_of(host.uuid) == self._node}
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
            _log.warning("host.look-failed", host=uuid, error=str(error))
        finally:
            watch.busy = False

    async def _look_once(self, uuid: str, watch: _Watch) -> None:
        host = await self._store.read(lambda tx: tx.get(Host, uuid))
        if host is None or host.status is HostStatus.CONNECTING:
            return
        if host.status is HostStatus.DISCONNECTED:
            await self._try_reconnect(host, watch)
            return
        asked_at = self._clock.now()
        pong = await self._ping(host, watch)
        if pong is not None:
            await self._heard(host, pong, asked_at)

    async def _ping(self, host: Host, watch: _Watch) -> Pong | None:
        """Ping until it answers or has failed as often as is allowed."""
        allowed = self._settings.get(config.PING_FAILURES)
        for attempt in range(allowed):
            try:
                pong = await self._directory.ping(
                    host.uuid, timeout_seconds=float(self._settings.get(config.PING_TIMEOUT))
                )
            except CairnError as error:
                watch.failures = attempt + 1
                if watch.failures >= allowed:
                    await self._lose(host, watch, error.message)
                    return None
                await self._clock.sleep(1.0)
            else:
                watch.failures = 0
                return pong
        return None

    async def _lose(self, host: Host, watch: _Watch, reason: str) -> None:
        _log.warning("host.lost", host=host.uuid, name=host.name, reason=reason)
        self._directory.lost(host.uuid, reason)
        watch.tries = 0
        watch.next_try = self._clock.monotonic() + self._pause(watch)
        await self._store.write(lambda tx: set_status(tx, self._events, host.uuid, HostStatus.DISCONNECTED, reason))

    async def _heard(self, host: Host, pong: Pong, asked_at: datetime) -> None:
        if pong.host != host.uuid or pong.boot != host.agent_boot:
            _log.info("host.agent-restarted", host=host.uuid, name=host.name)
            await self._reconnect(host)
            return
        for listener in self._extensions.of(HostPinged):
            await listener.host_pinged(host.uuid, pong.vms, asked_at)

    def _pause(self, watch: _Watch) -> float:
        interval = float(self._settings.get(config.PING_INTERVAL))
        longest = float(self._settings.get(config.RECONNECT_MAX_INTERVAL))
        return float(min(interval * 2 ** min(watch.tries, 10), max(interval, longest))) - 0.5

    async def _try_reconnect(self, host: Host, watch: _Watch) -> None:
        if not self._settings.get(config.AUTO_RECONNECT) or self._clock.monotonic() < watch.next_try:
            return
        try:
            await self._reconnect(host)
        except CairnError as error:
            watch.tries += 1
            watch.next_try = self._clock.monotonic() + self._pause(watch)
            _log.info("host.still-lost", host=host.uuid, name=host.name, error=str(error))
            self._directory.lost(host.uuid, error.message)
            reason = f"{error.message}{f' {error.cause.message}' if error.cause else ''}"[:2000]
            await self._store.write(lambda tx: set_status(tx, self._events, host.uuid, HostStatus.DISCONNECTED, reason))
        else:
            watch.tries = 0

    async def _reconnect(self, host: Host) -> None:
        await self._bus.call(ReconnectHost(uuid=host.uuid), timeout_seconds=900.0)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="look at host")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
