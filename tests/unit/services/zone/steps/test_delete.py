from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import DeleteMode
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.jobs import JobState
from cairn.kernel.tag import SystemTag
from cairn.services.cluster.manifest import MANIFEST as CLUSTER
from cairn.services.cluster.messages import CreateCluster, HypervisorType
from cairn.services.cluster.model import Cluster
from cairn.services.l2.model import L2Network, L2NetworkClusterRef, L2Type
from cairn.services.zone.messages import CreateZone, DeleteZone
from cairn.services.zone.model import Zone


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = await SmallNode().start(CLUSTER, records=[L2Network, L2NetworkClusterRef])
    yield node
    await node.stop()


@pytest.fixture
async def zone(node: SmallNode) -> str:
    message = CreateZone(resource_uuid=node.ids.new(), name="z1", system_tags=["hostname::web"])
    return (await node.call(message)).uuid


async def add_cluster(node: SmallNode, zone: str) -> str:
    message = CreateCluster(
        resource_uuid=node.ids.new(), name="c", zone_uuid=zone, hypervisor_type=HypervisorType.SIMULATOR
    )
    return (await node.call(message)).uuid


async def add_network(node: SmallNode, zone: str) -> None:
    now: datetime = node.clock.now()
    await node.insert(
        L2Network(
            uuid=node.ids.new(),
            name="wire",
            zone_uuid=zone,
            type=L2Type.NO_VLAN,
            physical_interface="eth0",
            create_date=now,
            last_op_date=now,
        )
    )


async def test_an_empty_zone_goes_with_its_tags(node: SmallNode, zone: str) -> None:
    job = await node.job(DeleteZone(uuid=zone))

    assert job.state is JobState.SUCCEEDED
    assert await node.all(Zone) == []
    assert await node.all(SystemTag) == []
    assert await node.all(FlowRun) == []


async def test_a_zone_in_use_is_refused_and_says_what_is_in_it(node: SmallNode, zone: str) -> None:
    await add_cluster(node, zone)
    await add_cluster(node, zone)
    await add_network(node, zone)

    job = await node.job(DeleteZone(uuid=zone))

    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "zone.in-use"
    assert "2 Clusters and 1 L2Network are in the zone z1" in job.error.message
    assert "deleteMode=Enforcing" in job.error.message
    assert len(await node.all(Zone)) == 1
    assert len(await node.all(SystemTag)) == 1


async def test_an_enforced_deletion_takes_clusters_along(node: SmallNode, zone: str) -> None:
    for _ in range(12):
        await add_cluster(node, zone)

    job = await node.job(DeleteZone(uuid=zone, delete_mode=DeleteMode.ENFORCING))

    assert job.state is JobState.SUCCEEDED
    assert await node.all(Cluster) == []
    assert await node.all(Zone) == []


async def test_an_enforced_deletion_stops_at_what_nobody_can_delete(node: SmallNode, zone: str) -> None:
    await add_cluster(node, zone)
    await add_network(node, zone)

    error = await node.refused(DeleteZone(uuid=zone, delete_mode=DeleteMode.ENFORCING), "zone.in-use")

    assert str(error).startswith("1 L2Network is in the zone z1: delete it first.")
    assert await node.all(Cluster) == []
    assert len(await node.all(Zone)) == 1
