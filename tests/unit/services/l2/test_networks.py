from __future__ import annotations

from tests.unit.services.network_rig import CLUSTER, Rig, uuid

from cairn.services.ids import L2NetworkId
from cairn.services.l2.provided import L2Networks


async def test_views_tell_bridge_mtu_and_clusters_and_leave_out_what_is_not_there(rig: Rig) -> None:
    l2 = await rig.vxlan("tunnel", vni=3)
    await rig.attach(l2)
    networks = rig.context.need(L2Networks)

    views = await rig.context.store.read(lambda tx: networks.views(tx, [l2, L2NetworkId(uuid(9, 9))]))

    assert list(views) == [l2]
    assert (views[l2].bridge, views[l2].mtu, views[l2].cluster_uuids) == ("br_vx_3", 1450, [CLUSTER])
