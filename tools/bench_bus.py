"""What the kernel's hot paths cost on this machine, in microseconds each: `python tools/bench_bus.py [calls]`.

Run it before and after a change of the bus, the queues or the metrics, on an idle machine, and compare.
"""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar

import structlog
import uvloop
from msgspec import Struct

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Command, Query
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.log import LogForm, configure
from cairn.kernel.metrics import Metrics
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.ring import Ring

HERE, THERE = NodeId("here"), NodeId("there")


class Weighed(Struct, frozen=True):
    """An answer of ordinary size."""

    grams: int


class Weigh(Query[Weighed], frozen=True, kw_only=True, tag="thing.weigh"):
    """A message of ordinary size."""

    route: ClassVar[str | None] = "thing"
    thing: str


class Repeat(Command[None], frozen=True, kw_only=True, tag="bench.repeat"):
    """Calls `Weigh` many times under one deadline."""

    times: int


class _Node:
    def __init__(self, node: NodeId, members: list[NodeId], network: MemoryNetwork) -> None:
        clock = SystemClock()
        self.metrics = Metrics()
        self.ring = Ring()
        self.ring.set_members(members, 1)
        self.bus = Bus(node, self.ring, network.transport(node), clock, self.metrics, RandomIds())
        self.queues = ResourceQueues(clock, self.metrics)
        self.bus.register(Weigh, self._weigh)
        self.bus.register(Repeat, self._repeat)

    async def _weigh(self, message: Weigh) -> Weighed:
        return Weighed(len(message.thing))

    async def _repeat(self, message: Repeat) -> None:
        weigh = Weigh(thing="a")
        for _ in range(message.times):
            await self.bus.call(weigh)


async def _timed(name: str, times: int, work: Callable[[], Awaitable[object]]) -> None:
    gc.collect()
    started = time.perf_counter()
    await work()
    print(f"{name:<58} {(time.perf_counter() - started) / times * 1e6:8.2f}")


async def _repeat(times: int, work: Callable[[], Awaitable[object]]) -> None:
    for _ in range(times):
        await work()


async def _nothing() -> None:
    return None


async def _bench(times: int) -> None:
    network = MemoryNetwork(SystemClock())
    alone = _Node(HERE, [HERE], network)
    message = Weigh(thing="a")
    await _timed("await of a coroutine, for comparison", times, lambda: _repeat(times, _nothing))
    await _timed("local call, inherited deadline", times, lambda: alone.bus.call(Repeat(times=times)))
    await _timed("local call, deadline of its own", times, lambda: _repeat(times, lambda: alone.bus.call(message)))
    await _timed(
        "turn in a free resource queue",
        times,
        lambda: _repeat(times, lambda: alone.queues.run("a:1", _nothing, name="n")),
    )
    await _timed("turn in a busy resource queue, its task included", times, lambda: _crowd(alone, times))
    await _open_at_once(alone, 30_000)
    series = alone.metrics.messages.of("thing.weigh", "ok")
    await _timed("observation of a histogram", times, lambda: _each(times, lambda: series.observe(0.003)))
    configure(io.StringIO(), "info", LogForm.JSON)
    log = structlog.get_logger("cairn.bench")
    await _timed("log line, level off", times, lambda: _each(times, lambda: log.debug("x", vm="v")))
    await _timed("log line, JSON", times // 10, lambda: _each(times // 10, lambda: log.info("x", vm="v")))
    await _remote(network, times // 10)


async def _crowd(node: _Node, times: int) -> None:
    await asyncio.gather(*(node.queues.run("a:1", _nothing, name="n") for _ in range(times)))


async def _open_at_once(node: _Node, times: int) -> None:
    """Each call waits in one queue and has a deadline of its own."""
    go = asyncio.Event()
    calls = [
        asyncio.create_task(node.queues.run("a:2", go.wait, name="n", parallelism=times // 2, timeout_seconds=60))
        for _ in range(times)
    ]
    await asyncio.sleep(0.2)
    go.set()
    await _timed(f"end of {times} entries open at once", times, lambda: asyncio.gather(*calls))


async def _each(times: int, work: Callable[[], object]) -> None:
    for _ in range(times):
        work()


async def _remote(network: MemoryNetwork, times: int) -> None:
    nodes = [_Node(node, [HERE, THERE], network) for node in (HERE, THERE)]
    for node in nodes:
        await node.bus.start()
    thing = next(key for key in map(str, range(100)) if nodes[0].ring.node_of(key) == THERE)
    message = Weigh(thing=thing)
    await _timed(
        "call to another node, both ends, no wire", times, lambda: _repeat(times, lambda: nodes[0].bus.call(message))
    )
    ring = nodes[0].ring
    await _timed("owner of a key, two nodes", times, lambda: _each(times, lambda: ring.node_of("0123456789abcdef")))
    for node in nodes:
        await node.bus.stop()


if __name__ == "__main__":
    uvloop.run(_bench(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
