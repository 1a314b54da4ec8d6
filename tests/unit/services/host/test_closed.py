from __future__ import annotations

from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import StateEvent
from cairn.services.cluster.messages import ChangeClusterState, CreateCluster, HypervisorType
from cairn.services.host.closed import ClosedPlaces
from cairn.services.host.extensions import Candidate, HostNeed
from cairn.services.ids import ClusterId, HostId, ImageId, VmId, ZoneId
from cairn.services.zone.messages import ChangeZoneState, CreateZone

NEED = HostNeed(vm_uuid=VmId("v"), cpu_num=1, memory_size=1, disk_bytes=1, image_uuid=ImageId("i"), l3_network_uuids=[])


async def place(node: SmallNode, number: int, zone: str | None = None) -> Candidate:
    """A host in a cluster of its own, in a zone of its own unless one is given."""
    if zone is None:
        zone = (await node.call(CreateZone(resource_uuid=node.ids.new(), name=f"z{number}"))).uuid
    message = CreateCluster(
        resource_uuid=node.ids.new(), name=f"c{number}", zone_uuid=zone, hypervisor_type=HypervisorType.KVM
    )
    cluster = (await node.call(message)).uuid
    return Candidate(
        host_uuid=HostId(f"h{number}"), cluster_uuid=ClusterId(cluster), zone_uuid=ZoneId(zone), name=f"host-{number}"
    )


async def refused(node: SmallNode, *candidates: Candidate) -> dict[HostId, str]:
    return await node.context.store.read(lambda tx: ClosedPlaces().refuse(tx, NEED, candidates))


async def test_hosts_in_enabled_places_are_not_refused(node: SmallNode) -> None:
    one, two = await place(node, 1), await place(node, 2)

    assert await refused(node, one, two) == {}
    assert await refused(node) == {}


async def test_hosts_in_disabled_clusters_and_zones_are_refused_with_the_place(node: SmallNode) -> None:
    one, two = await place(node, 1), await place(node, 2)
    three = await place(node, 3, zone=one.zone_uuid)

    await node.call(ChangeClusterState(uuid=one.cluster_uuid, state_event=StateEvent.DISABLE))
    await node.call(ChangeZoneState(uuid=two.zone_uuid, state_event=StateEvent.DISABLE))

    assert await refused(node, one, two, three) == {
        "h1": "is in the cluster c1, which is Disabled",
        "h2": "is in the zone z2, which is Disabled",
    }
