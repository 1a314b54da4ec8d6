from __future__ import annotations

import pytest
from tests.unit.services.network_rig import CLUSTER, OTHER_CLUSTER, Rig, names, unreachable, uuid

from cairn.agents.protocol.network import EnsureVxlan, RemoveBridge
from cairn.kernel.error import CairnError
from cairn.services.l2.messages import DetachL2NetworkFromCluster
from cairn.services.vm.extensions import NicSpec
from cairn.services.vm.messages import VmNetworks


def vm(number: int, host: str, l3: str) -> VmNetworks:
    nic = NicSpec(
        uuid=uuid(number, 6),
        mac=f"fa:00:00:00:00:{number:02x}",
        ip=f"10.0.0.{number}",
        netmask="255.255.255.0",
        gateway="10.0.0.1",
        l3_network_uuid=l3,
        device_id=0,
        internal_name=f"vnic{number}.0",
        is_default=True,
    )
    return VmNetworks(vm_uuid=uuid(number, 5), host_uuid=host, hostname=f"vm-{number}", nics=[nic])


async def detach(rig: Rig, l2: str, cluster: str = CLUSTER) -> None:
    await rig.context.bus.call(DetachL2NetworkFromCluster(l2_network_uuid=l2, cluster_uuid=cluster))


async def test_detaching_removes_the_bridge_from_connected_hosts(rig: Rig) -> None:
    host = rig.host(1)
    rig.host(2, connected=False)
    l2 = await rig.l2(interface="eth0")
    await rig.attach(l2)
    await rig.settle()

    await detach(rig, l2)

    assert await rig.settle() == [(host, RemoveBridge(bridge="br_eth0"))]
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == []


async def test_detaching_where_it_is_not_attached_is_refused(rig: Rig) -> None:
    with pytest.raises(CairnError) as caught:
        await detach(rig, await rig.l2())
    assert caught.value.code == "l2.not-attached"


async def test_detaching_is_refused_while_vms_there_use_it_and_nothing_changes(rig: Rig) -> None:
    host = rig.host(1)
    l2 = await rig.l2()
    await rig.attach(l2)
    l3 = await rig.l3(l2)
    rig.vms[host] = [vm(2, host, l3), vm(3, host, l3), vm(4, host, uuid(9, 9))]
    await rig.settle()

    with pytest.raises(CairnError, match="2 VMs on hosts of the cluster") as caught:
        await detach(rig, l2)

    assert caught.value.code == "l2.in-use"
    assert await rig.settle() == []
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == [CLUSTER]


async def test_a_host_that_is_lost_does_not_keep_a_network_attached(rig: Rig) -> None:
    host = rig.host(1)
    l2 = await rig.l2()
    await rig.attach(l2)
    rig.agents.refuse[host] = unreachable()

    await detach(rig, l2)

    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == []


async def test_hosts_of_other_clusters_forget_their_former_peers(rig: Rig) -> None:
    one, two = rig.host(1), rig.host(2, OTHER_CLUSTER)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    await rig.attach(l2, OTHER_CLUSTER)
    await rig.settle()

    await detach(rig, l2, OTHER_CLUSTER)

    calls = await rig.settle()
    assert names(calls) == [(1, "EnsureVxlan"), (2, "RemoveBridge")]
    told = dict(calls)[one]
    assert isinstance(told, EnsureVxlan)
    assert told.peers == []
    assert two in dict(calls)
