from __future__ import annotations

from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import DeleteMode
from cairn.services.cluster.messages import CreateCluster, DeleteCluster, HypervisorType
from cairn.services.cluster.model import Cluster


async def test_an_empty_cluster_goes_however_it_is_asked_and_twice(node: SmallNode, zone: str) -> None:
    for mode in DeleteMode:
        message = CreateCluster(
            resource_uuid=node.ids.new(), name="c", zone_uuid=zone, hypervisor_type=HypervisorType.KVM
        )
        cluster = (await node.call(message)).uuid

        await node.call(DeleteCluster(uuid=cluster, delete_mode=mode))
        await node.call(DeleteCluster(uuid=cluster, delete_mode=mode))

    assert await node.all(Cluster) == []
