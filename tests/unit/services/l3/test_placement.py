from __future__ import annotations

from tests.unit.services.network_rig import CLUSTER, OTHER_CLUSTER, ZONE, Rig, uuid

from cairn.services.host.extensions import ANYWHERE, Candidate, HostFilter, HostNeed, Places
from cairn.services.ids import ClusterId, HostId, ImageId, L3NetworkId, VmId, ZoneId


def need(*l3: L3NetworkId) -> HostNeed:
    return HostNeed(
        vm_uuid=VmId(uuid(1, 5)),
        cpu_num=1,
        memory_size=1,
        disk_bytes=1,
        image_uuid=ImageId(uuid(1, 7)),
        l3_network_uuids=list(l3),
    )


def candidate(number: int, cluster: str) -> Candidate:
    return Candidate(
        host_uuid=HostId(uuid(number, 3)),
        cluster_uuid=ClusterId(cluster),
        zone_uuid=ZoneId(ZONE),
        name=f"host-{number}",
    )


async def test_hosts_whose_cluster_lacks_an_l2_network_are_refused_with_its_name(rig: Rig) -> None:
    both, one = await rig.l2("both", interface="eth0"), await rig.l2("one", interface="eth1")
    await rig.attach(both, CLUSTER)
    await rig.attach(both, OTHER_CLUSTER)
    await rig.attach(one, CLUSTER)
    networks = [await rig.l3(both, "lan"), await rig.l3(one, "dmz")]
    judge = rig.extensions.named(HostFilter, "l3")
    candidates = [candidate(1, CLUSTER), candidate(2, OTHER_CLUSTER)]

    refused = await rig.context.store.read(lambda tx: judge.refuse(tx, need(*networks), candidates))

    assert refused == {
        uuid(2, 3): "is in a cluster to which the L2 network one of L3 network dmz is not attached",
    }


async def test_a_vm_without_networks_may_go_anywhere(rig: Rig) -> None:
    judge = rig.extensions.named(HostFilter, "l3")
    assert await rig.context.store.read(lambda tx: judge.refuse(tx, need(), [candidate(1, CLUSTER)])) == {}


async def test_choice_is_narrowed_to_the_clusters_that_all_networks_reach(rig: Rig) -> None:
    both, one = await rig.l2("both", interface="eth0"), await rig.l2("one", interface="eth1")
    await rig.attach(both, CLUSTER)
    await rig.attach(both, OTHER_CLUSTER)
    await rig.attach(one, CLUSTER)
    lan, dmz = await rig.l3(both, "lan"), await rig.l3(one, "dmz")
    judge = rig.extensions.named(HostFilter, "l3")

    async def places(*networks: L3NetworkId) -> Places:
        return await rig.context.store.read(lambda tx: judge.narrow(tx, need(*networks)))

    assert await places(lan) == Places(clusters=frozenset({ClusterId(CLUSTER), ClusterId(OTHER_CLUSTER)}))
    assert await places(lan, dmz) == Places(clusters=frozenset({ClusterId(CLUSTER)}))
    assert await places() == ANYWHERE
