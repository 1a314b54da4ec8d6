from __future__ import annotations

import pytest
from tests.unit.services.network_rig import CLUSTER, OTHER_CLUSTER, Rig, names, unreachable

from cairn.agents.protocol.network import ChangeVxlanPeers, RemoveBridge
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Tx
from cairn.services.l2.extensions import L2NetworkUsers
from cairn.services.l2.messages import DetachL2NetworkFromCluster
from cairn.services.l2.model import L2NetworkClusterRef


class Users(L2NetworkUsers):
    """Something that uses L2 networks, and notes what it is asked and how many attachments there are then."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, int]] = []

    def why_not_detach(self, tx: Tx, l2_network: str, cluster: str) -> str | None:
        self.asked.append((l2_network, cluster, tx.count(L2NetworkClusterRef)))
        return self.answer


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


async def test_detaching_is_refused_while_it_is_used_there_and_nothing_changes(rig: Rig) -> None:
    rig.host(1)
    l2 = await rig.l2("wire")
    await rig.attach(l2)
    users = Users("2 VMs use it")
    rig.extensions.provide(L2NetworkUsers, users, name="test")
    await rig.settle()

    with pytest.raises(CairnError, match="the L2 network wire cannot be detached: 2 VMs use it") as caught:
        await detach(rig, l2)

    assert caught.value.code == "l2.in-use"
    assert users.asked == [(l2, CLUSTER, 0)]
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
    assert names(calls) == [(1, "ChangeVxlanPeers"), (2, "RemoveBridge")]
    told = dict(calls)[one]
    assert isinstance(told, ChangeVxlanPeers)
    assert (told.add, told.remove) == ([], ["192.0.2.2"])
    assert two in dict(calls)
