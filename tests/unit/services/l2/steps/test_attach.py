from __future__ import annotations

import pytest
from tests.unit.services.network_rig import (
    CLUSTER,
    FAR_CLUSTER,
    OTHER_CLUSTER,
    Rig,
    missing_interface,
    names,
    unreachable,
)

from cairn.agents.protocol.network import ChangeVxlanPeers, EnsureBridge, EnsureVxlan
from cairn.kernel.error import CairnError, ErrorKind


async def test_attaching_makes_the_bridge_on_every_connected_host_of_the_cluster(rig: Rig) -> None:
    rig.host(1)
    rig.host(2, connected=False)
    rig.host(3, OTHER_CLUSTER)
    l2 = await rig.l2(interface="eth0")

    await rig.attach(l2)

    assert [(host[-1], command) for host, command in await rig.settle()] == [
        ("1", EnsureBridge(bridge="br_eth0", physical_interface="eth0", mtu=1500))
    ]
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == [CLUSTER]


async def test_attaching_a_vxlan_tells_each_host_all_the_others_lost_ones_too(rig: Rig) -> None:
    one, two = rig.host(1), rig.host(2)
    rig.host(3, connected=False)
    l2 = await rig.vxlan(vni=42)

    await rig.attach(l2)

    told = dict(await rig.settle())
    assert told == {
        one: EnsureVxlan(bridge="br_vx_42", vni=42, local_ip="192.0.2.1", peers=["192.0.2.2", "192.0.2.3"], mtu=1450),
        two: EnsureVxlan(bridge="br_vx_42", vni=42, local_ip="192.0.2.2", peers=["192.0.2.1", "192.0.2.3"], mtu=1450),
    }


async def test_attaching_a_second_cluster_tells_the_first_ones_hosts_of_their_new_peers(rig: Rig) -> None:
    one = rig.host(1)
    rig.host(2, OTHER_CLUSTER)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    await rig.settle()

    await rig.attach(l2, OTHER_CLUSTER)

    told = dict(await rig.settle())[one]
    assert isinstance(told, ChangeVxlanPeers)
    assert (told.add, told.remove) == (["192.0.2.2"], [])


async def test_a_host_without_the_interface_fails_it_naming_host_interface_and_what_to_do(rig: Rig) -> None:
    rig.host(1)
    rig.host(2)
    rig.agents.refuse["network.ensure-bridge"] = missing_interface()
    l2 = await rig.l2("wire", interface="eth9")

    with pytest.raises(CairnError) as caught:
        await rig.attach(l2)

    assert caught.value.code == "l2.realize-failed"
    assert "L2 network wire cannot be made on a host" in caught.value.message
    assert "host-1" not in caught.value.message
    operator = str(caught.value.operator)
    assert "On the host host-1; its bridge br_eth9 needs the interface eth9" in operator
    assert "ip link" in operator
    assert "host-2" in operator
    assert caught.value.cause is not None
    assert caught.value.cause.code == "agent.interface-missing"


async def test_a_failed_attachment_leaves_neither_row_nor_bridge(rig: Rig) -> None:
    rig.host(1)
    rig.host(2)
    l2 = await rig.l2()
    rig.agents.refuse["network.ensure-bridge"] = missing_interface()

    with pytest.raises(CairnError, match="host-2"):
        await rig.attach(l2)

    assert (1, "RemoveBridge") in names(await rig.settle())
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == []


async def test_undoing_is_content_with_a_host_that_is_lost(rig: Rig) -> None:
    rig.host(1)
    lost = rig.host(2)
    l2 = await rig.l2()
    rig.agents.refuse[lost] = unreachable()

    with pytest.raises(CairnError) as caught:
        await rig.attach(l2)

    assert (caught.value.code, caught.value.kind) == ("l2.realize-failed", ErrorKind.UNAVAILABLE)
    assert "undoPending" not in caught.value.details
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == []


async def test_a_cluster_of_another_zone_is_refused(rig: Rig) -> None:
    with pytest.raises(CairnError, match="cluster-3 is in another zone than the L2 network wire") as caught:
        await rig.attach(await rig.l2("wire"), FAR_CLUSTER)
    assert caught.value.code == "l2.another-zone"


async def test_attaching_twice_is_refused(rig: Rig) -> None:
    l2 = await rig.l2()
    await rig.attach(l2)
    with pytest.raises(CairnError) as caught:
        await rig.attach(l2)
    assert caught.value.code == "l2.attached"


async def test_a_second_network_on_the_same_interface_of_a_cluster_is_refused(rig: Rig) -> None:
    await rig.attach(await rig.l2("old", interface="eth0"))
    with pytest.raises(CairnError, match="has the L2 network old on eth0 already") as caught:
        await rig.attach(await rig.l2("new", interface="eth0"))
    assert caught.value.code == "l2.interface-taken"


async def test_two_vxlans_share_a_cluster(rig: Rig) -> None:
    rig.host(1)
    await rig.attach(await rig.vxlan())
    await rig.attach(await rig.vxlan())
    assert len(await rig.settle()) == 2
