from __future__ import annotations

import pytest

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.transport import MemoryNetwork
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.ring import Ring
from cairn.services.ids import HostId, VmId
from cairn.services.vm.extensions import VmNetworks, VmNetworkService
from cairn.services.vm.upkeep.served import ServedVms
from cairn.testing.clock import VirtualClock

NODES = [NodeId("a"), NodeId("b")]


class Service(VmNetworkService):
    def __init__(self, node: str, told: list[str], *, fails: bool = False) -> None:
        self.node, self.told, self.fails = node, told, fails

    async def apply(self, vm: VmNetworks) -> None:
        self.told.append(f"apply on {self.node}")

    async def release(self, vm: VmNetworks) -> None:
        self.told.append(f"release on {self.node}")
        if self.fails:
            raise CairnError("test.refused", "It cannot.", kind=ErrorKind.CONFLICT)


async def test_a_host_is_asked_on_the_node_that_it_belongs_to() -> None:
    clock, told = VirtualClock(), list[str]()
    network = MemoryNetwork(clock)
    served: dict[NodeId, ServedVms] = {}
    for node in NODES:
        ring = Ring()
        ring.set_members(NODES, 1)
        bus = Bus(node, ring, network.transport(node), clock, Metrics(), RandomIds(seed=len(served)))
        extensions = Extensions()
        extensions.add(Service(node, told, fails=True), name="one")
        extensions.add(Service(node, told), name="two")
        served[node] = ServedVms(bus, extensions)
        bus.serve(served[node])
        await bus.start()
    owner = NODES[0] if ring.node_of("host") == NODES[0] else NODES[1]
    other = next(node for node in NODES if node != owner)
    vm = VmNetworks(uuid=VmId("vm"), host_uuid=HostId("host"), hostname="web", nics=[])

    await clock.run(served[other].serve(vm))
    await clock.run(served[owner].serve(vm))
    assert told == [f"apply on {owner}"] * 4
    told.clear()

    for node in (other, owner):
        with pytest.raises(CairnError, match=r"test\.refused"):
            await clock.run(served[node].release(vm))
    assert told == [f"release on {owner}"] * 4
