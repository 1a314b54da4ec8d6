"""What calls between two nodes over RabbitMQ cost: `python tools/bench_broker.py URL [calls]`, with a broker that runs there.

Both nodes are in this process, so the CPU time is that of both ends of a call, without the broker's own.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from typing import ClassVar

import uvloop
from msgspec import Struct

from cairn.kernel.bus.broker import Broker, parse_broker
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Query
from cairn.kernel.bus.rabbit import RabbitTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring

HERE, THERE = NodeId("a" * 32), NodeId("b" * 32)
AT_A_TIME = (1, 10, 100, 1000, 10_000)


class Weighed(Struct, frozen=True):
    """An answer of ordinary size."""

    grams: int


class Weigh(Query[Weighed], frozen=True, kw_only=True, tag="thing.weigh"):
    """A message of ordinary size."""

    route: ClassVar[str | None] = "thing"
    thing: str


class _Node:
    def __init__(self, broker: Broker, node: NodeId) -> None:
        clock = SystemClock()
        self.metrics = Metrics()
        self.ring = Ring()
        self.ring.set_members([HERE, THERE], 1)
        transport = RabbitTransport(broker, node, clock, self.metrics)
        self.bus = Bus(node, self.ring, transport, clock, self.metrics, RandomIds())
        self.bus.register(Weigh, self._weigh)

    async def _weigh(self, message: Weigh) -> Weighed:
        return Weighed(len(message.thing))

    def messages(self) -> float:
        """Sent so far."""
        lines = self.metrics.render().decode().splitlines()
        sent = 'cairn_broker_messages_total{direction="sent"} '
        return sum(float(line.removeprefix(sent)) for line in lines if line.startswith(sent))


async def _measure(nodes: list[_Node], calls: int, at_a_time: int) -> None:
    bus, ring = nodes[0].bus, nodes[0].ring
    message = Weigh(thing=next(key for key in map(str, range(100)) if ring.node_of(key) == THERE))
    turns = asyncio.Semaphore(at_a_time)

    async def call() -> None:
        async with turns:
            await bus.call(message)

    before = sum(node.messages() for node in nodes)
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(calls)))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    messages = sum(node.messages() for node in nodes) - before
    print(
        f"{at_a_time:>6} at a time: {calls / seconds:8.0f} calls/s, {seconds / calls * at_a_time * 1e3:8.1f} ms each, "
        f"{cpu / calls * 1e6:6.0f} us of CPU, {messages / seconds:6.0f} messages/s"
    )


async def _bench(url: str, calls: int) -> None:
    nodes = [_Node(parse_broker(url), node) for node in (HERE, THERE)]
    for node in nodes:
        await node.bus.start()
    for at_a_time in AT_A_TIME:
        await _measure(nodes, max(calls if at_a_time > 1 else calls // 10, at_a_time), at_a_time)
    for node in nodes:
        await node.bus.stop()
    print(f"largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    uvloop.run(_bench(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000))
