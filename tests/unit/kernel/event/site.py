"""Events on a store in memory and a clock of the test's own, and subscribers that can be told what to fail at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from cairn.kernel.bus.message import Event
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError
from cairn.kernel.event import EventCursor, EventDelivery, EventRow, Events
from cairn.kernel.event.model import DeliveryState
from cairn.kernel.metrics import Metrics
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock

T = TypeVar("T")
RETENTION_SECONDS = 3600.0


class Moved(Event, frozen=True, kw_only=True, tag="test-event.moved"):
    """Something has moved."""

    to_where: int


class Stopped(Event, frozen=True, kw_only=True, tag="test-event.stopped"):
    """Something has stopped."""


class CountingStore(Store):
    """A store that counts what it does, takes its time, and can be broken."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self._real = store
        self._clock = clock
        self.delay_seconds = 0.0  #: before a commit, and again before it is answered
        self.broken = False
        self.reads = 0
        self.writes = 0

    async def read(self, fn: Callable[[Tx], T]) -> T:
        self.reads += 1
        self._check()
        return await self._real.read(fn)

    async def write(self, fn: Callable[[Tx], T], *, own: str | None = None) -> T:
        self.writes += 1
        self._check()
        if not self.delay_seconds:
            return await self._real.write(fn, own=own)
        await self._clock.sleep(self.delay_seconds)
        self._check()
        answer = await self._real.write(fn)
        await self._clock.sleep(self.delay_seconds)
        return answer

    async def close(self) -> None:
        await self._real.close()

    def _check(self) -> None:
        if self.broken:
            raise CairnError("store.broken", "It is broken.")


class Site:
    """Events, and what tells of them."""

    def __init__(self, store: CountingStore, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.settings: dict[str, int] = {}
        self.metrics = Metrics()
        self.events = self.another()

    def another(self) -> Events:
        """As after a restart."""
        self.metrics = Metrics()
        return Events(self.store, self.clock, lambda: RETENTION_SECONDS, setting=self._setting, metrics=self.metrics)

    def _setting(self, setting: Setting[int]) -> int:
        return self.settings.get(setting.name, setting.default)

    async def restart(self) -> None:
        """Stop delivering; what is subscribed next goes on."""
        await self.events.stop()
        self.events = self.another()

    async def emit(self, *events: Event, resource: str | None = "vm", account: str | None = "account") -> None:
        def fn(tx: Tx) -> None:
            for event in events:
                self.events.emit(tx, event, resource=resource, job="job", account=account)

        await self.clock.run(self.store.write(fn))
        await self.clock.settle()

    async def rows(self) -> list[EventRow]:
        return await self.store.read(lambda tx: tx.find(EventRow, order_by="sequence"))

    async def deliveries(self, state: DeliveryState) -> list[EventDelivery]:
        return await self.store.read(lambda tx: tx.find(EventDelivery, state=state, order_by="sequence"))

    async def cursor(self, name: str) -> EventCursor | None:
        return await self.store.read(lambda tx: tx.get(EventCursor, name))

    def shown(self, subscriber: str, state: DeliveryState) -> str:
        """What the metrics say of a subscriber's deliveries."""
        text = self.metrics.render().decode()
        wanted = f'cairn_event_deliveries{{state="{state}",subscriber="{subscriber}"}} '
        return next(line.removeprefix(wanted) for line in text.splitlines() if line.startswith(wanted))


class Ear:
    """A subscriber that notes what it is told."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self._clock = clock
        self.heard: list[object] = []
        self.bad: dict[object, int] = {}  #: what it fails at, and how often
        self.tries = 0
        self.gates: dict[object, asyncio.Event] = {}  #: what it waits for before it takes something
        self.slow: dict[object, float] = {}  #: how many seconds something takes

    async def hear(self, row: EventRow) -> None:
        self.tries += 1
        what = row.content.get("toWhere", row.name)
        if what in self.gates:
            await self.gates[what].wait()
        if self._clock is not None:
            await self._clock.sleep(self.slow.get(what, 0.0))
        if self.bad.get(what, 0) > 0:
            self.bad[what] -= 1
            raise RuntimeError("not now")
        self.heard.append(what)


def moves(*numbers: int) -> list[Event]:
    return [Moved(to_where=number) for number in numbers]
