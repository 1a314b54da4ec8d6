from __future__ import annotations

from cairn.kernel.ids import RandomIds
from cairn.kernel.plugin.manifest import LeftOut
from cairn.kernel.resource import Resource
from cairn.services.cluster.manifest import MANIFEST as CLUSTER
from cairn.services.zone.manifest import MANIFEST as ZONE
from cairn.services.zone.messages import CreateZone
from cairn.services.zone.model import Zone
from cairn.testing.clock import VirtualClock
from cairn.testing.rig import NODE, small_context, stop


async def test_the_kernel_and_some_services_answer_without_being_started() -> None:
    clock = VirtualClock()
    node = await small_context([ZONE, CLUSTER], clock, RandomIds(seed=1), left_out=[LeftOut(name="x", reason="y")])
    made = await node.bus.call(CreateZone(name="z", resource_uuid="a" * 32))
    rows = await node.store.read(lambda tx: (tx.count(Zone), tx.count(Resource, uuid=made.uuid)))
    assert rows == (1, 1)
    assert node.node == NODE
    assert [manifest.name for manifest in node.loaded().manifests] == ["kernel", "zone", "cluster"]
    assert [one.name for one in node.loaded().left_out] == ["x"]
    await stop(node)
    assert clock.pending() == 0


async def test_two_rigs_know_nothing_of_each_other() -> None:
    first, second = [await small_context([ZONE], VirtualClock(), RandomIds(seed=1)) for _ in range(2)]
    await first.bus.call(CreateZone(name="z", resource_uuid="a" * 32))
    assert await second.store.read(lambda tx: tx.count(Zone)) == 0
    await stop(first)
    await stop(second)
