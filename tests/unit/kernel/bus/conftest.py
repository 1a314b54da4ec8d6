from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.testing.clock import VirtualClock

NODES = [NodeId("node-a"), NodeId("node-b"), NodeId("node-c")]


class Node:
    """One node of a cloud in this process."""

    def __init__(self, node: NodeId, network: MemoryNetwork, clock: VirtualClock) -> None:
        self.id = node
        self.ring = Ring()
        self.ring.set_members(NODES, 1)
        self.joined = 1
        self.metrics = Metrics()
        ids = RandomIds(seed=NODES.index(node))
        self.bus = Bus(
            node, self.ring, network.transport(node), clock, self.metrics, ids, incarnation=lambda: self.joined
        )


class Cloud:
    """Three nodes on one clock and one network."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.network = MemoryNetwork(clock)
        self.nodes = [Node(node, self.network, clock) for node in NODES]
        self.a, self.b, self.c = self.nodes

    def key_of(self, node: Node) -> str:
        """Some key that `node` owns."""
        return next(key for key in map(str, range(1000)) if self.a.ring.node_of(key) == node.id)

    def members(self, nodes: list[Node], epoch: int) -> None:
        """All of `nodes` hear that they are the members now."""
        for node in nodes:
            node.ring.set_members([one.id for one in nodes], epoch)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def cloud(clock: VirtualClock) -> AsyncIterator[Cloud]:
    cloud = Cloud(clock)
    for node in cloud.nodes:
        await node.bus.start()
    yield cloud
    for node in cloud.nodes:
        await node.bus.stop()


@pytest.fixture
async def bus(clock: VirtualClock) -> AsyncIterator[Bus]:
    ring = Ring()
    ring.set_members([NODES[0]], 1)
    bus = Bus(NODES[0], ring, MemoryNetwork(clock).transport(NODES[0]), clock, Metrics(), RandomIds(seed=1))
    await bus.start()
    yield bus
    await bus.stop()
