"""Nodes that have a bus, a broker between them, and something to count."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from cairn.kernel.bus.broker import Broker, parse_broker
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.bus.message import Command, Event
from cairn.kernel.bus.rabbit import RabbitTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring

#: for what is to happen at some time, on a machine that does other things as well
SOON_SECONDS = 120.0


class Counted(Struct, frozen=True):
    number: int
    by: str
    text: str = ""


class CountSheep(Command[Counted], frozen=True, kw_only=True, tag="sheep.count"):
    """Counted once, after so many seconds."""

    route: ClassVar[str | None] = "flock"
    flock: str
    number: int
    seconds: float = 0.0
    letters: int = 0


class SheepShorn(Event, frozen=True, kw_only=True, tag="sheep.shorn"):
    number: int


class BusNode:
    """A node that is a bus, a ring and a transport."""

    def __init__(self, broker: Broker, node: NodeId, members: list[NodeId], *, joined: int = 1) -> None:
        clock = SystemClock()
        self.node = node
        self.metrics = Metrics()
        self.ring = Ring(64)
        self.ring.set_members(members, joined)
        self.transport = RabbitTransport(broker, node, clock, self.metrics)
        self.bus = Bus(node, self.ring, self.transport, clock, self.metrics, RandomIds(), incarnation=lambda: joined)
        self.counted: Counter[int] = Counter()
        self.cancelled: Counter[int] = Counter()
        self.heard: Counter[int] = Counter()
        self.actors: set[str | None] = set()
        self.bus.register(CountSheep, self._count)
        self.bus.subscribe(SheepShorn, self._hear, "farmer")

    async def _count(self, message: CountSheep) -> Counted:
        self.counted[message.number] += 1
        self.actors.add(current().actor)
        try:
            await asyncio.sleep(message.seconds)
        except asyncio.CancelledError:
            self.cancelled[message.number] += 1
            raise
        return Counted(number=message.number, by=self.node, text="x" * message.letters)

    async def _hear(self, event: SheepShorn) -> None:
        self.heard[event.number] += 1

    def flock_of(self, node: NodeId) -> str:
        """A key that `node` owns."""
        return next(key for key in map(str, range(10_000)) if self.ring.node_of(key) == node)

    def count(self, node: NodeId, number: int, *, seconds: float = 0.0) -> asyncio.Task[Counted]:
        """Have `node` count a sheep."""
        message = CountSheep(flock=self.flock_of(node), number=number, seconds=seconds)
        return asyncio.create_task(self.bus.call(message))

    def measured(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.metrics.render().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


async def reached(done: Callable[[], bool], what: str) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(SOON_SECONDS):
        while not done():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)
    assert done(), what


async def _serve(url: str, node: NodeId, members: list[NodeId], joined: int) -> None:
    """A node in a process of its own, until somebody ends it. It tells when it can be asked."""
    made = BusNode(parse_broker(url), node, members, joined=joined)
    await made.bus.start()
    await reached(lambda: made.transport.trouble() is None, "the broker is there")
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _url, _node, _members, _joined = sys.argv[1:]
    asyncio.run(_serve(_url, NodeId(_node), [NodeId(name) for name in _members.split(",")], int(_joined)))
