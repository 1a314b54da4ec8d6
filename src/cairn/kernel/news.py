"""Hints between nodes: something was committed here that others may wait for.

Streams, durable subscribers and what is remembered look at the database each second for what other nodes have written. A hint
has them look at once. Hints are sent after the commit, those of a moment together, and never waited for: one that gets lost
costs a second, not an event. A node that is alone sends none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Event
from cairn.kernel.bus.tasks import Tasks
from cairn.kernel.clock import Clock, TimerHandle
from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring

#: how long a hint waits for others, so that one stands for all of them
GATHER_SECONDS: Final = 0.05


class NewsCommitted(Event, frozen=True, kw_only=True, tag="node.news-committed"):
    """A node has committed something that others may want to read."""

    node: NodeId
    events: list[str] = []  #: the names of events
    changes: bool = False  #: whether something was changed that nodes remember
    loops: list[str] = []  #: the names of loops that are to be woken


class News:
    """Sends the hints of one node, and hears those of the others."""

    def __init__(self, bus: Bus, ring: Ring, clock: Clock) -> None:
        self._bus = bus
        self._ring = ring
        self._clock = clock
        self._events: set[str] = set()
        self._changes = False
        self._loops: set[str] = set()
        self._timer: TimerHandle | None = None
        self._tasks = Tasks()
        self._on_events: Callable[[Collection[str]], None] = lambda names: None
        self._on_changes: Callable[[], None] = lambda: None
        self._on_loops: Callable[[Collection[str]], None] = lambda names: None
        bus.subscribe(NewsCommitted, self._heard, "news of other nodes")

    def listen(
        self,
        events: Callable[[Collection[str]], None],
        changes: Callable[[], None],
        loops: Callable[[Collection[str]], None],
    ) -> None:
        """Say what is called when another node has committed events, changed what is remembered, or wants loops to be woken."""
        self._on_events, self._on_changes, self._on_loops = events, changes, loops

    @property
    def alone(self) -> bool:
        """Whether there is no other node."""
        return len(self._ring.alive) < 2

    def emitted(self, name: str) -> None:
        """An event was committed here."""
        if not self.alone:
            self._events.add(name)
            self._soon()

    def changed(self) -> None:
        """Something was changed here that nodes remember."""
        if not self.alone:
            self._changes = True
            self._soon()

    def wanted(self, loop: str) -> None:
        """A loop that runs once in the cloud, on another node, is wanted to run soon."""
        if not self.alone:
            self._loops.add(loop)
            self._soon()

    async def stop(self) -> None:
        """Send nothing more. Safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.stop()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(GATHER_SECONDS, self._send)

    def _send(self) -> None:
        self._timer = None
        message = NewsCommitted(
            node=self._bus.node, events=sorted(self._events), changes=self._changes, loops=sorted(self._loops)
        )
        self._events, self._changes, self._loops = set(), False, set()
        self._tasks.start(self._bus.publish(message), "news for other nodes")

    async def _heard(self, news: NewsCommitted) -> None:
        if news.node == self._bus.node:
            return
        if news.events:
            self._on_events(news.events)
        if news.changes:
            self._on_changes()
        if news.loops:
            self._on_loops(news.loops)
