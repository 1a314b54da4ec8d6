from __future__ import annotations

import pytest
from tests.unit.services.network_rig import CLUSTER, Rig

from cairn.kernel.api import StateEvent
from cairn.kernel.error import CairnError
from cairn.services.l2.messages import AttachL2NetworkToCluster, DetachL2NetworkFromCluster
from cairn.services.l3.extensions import NetworkChanged
from cairn.services.l3.messages import (
    AddDnsToL3Network,
    ChangeL3NetworkState,
    DeleteIpRange,
    DeleteL3Network,
    UpdateL3Network,
)


class Listener(NetworkChanged):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def network_changed(self, l3_network: str) -> None:
        self.heard.append(l3_network)

    def take(self) -> list[str]:
        heard, self.heard = self.heard, []
        return heard


async def test_every_change_of_a_network_is_told_once_it_is_committed(rig: Rig) -> None:
    listener, call = Listener(), rig.context.bus.call
    rig.extensions.provide(NetworkChanged, listener, name="test")
    l2 = await rig.l2()
    l3 = await rig.l3(l2)
    assert listener.take() == [l3]
    range_ = await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    assert listener.take() == [l3]
    await call(AttachL2NetworkToCluster(l2_network_uuid=l2, cluster_uuid=CLUSTER))
    assert listener.take() == [l3]
    await call(DetachL2NetworkFromCluster(l2_network_uuid=l2, cluster_uuid=CLUSTER))
    assert listener.take() == [l3]
    for change in (
        AddDnsToL3Network(l3_network_uuid=l3, dns="9.9.9.9"),
        UpdateL3Network(uuid=l3, dns_domain="example.com"),
        ChangeL3NetworkState(uuid=l3, state_event=StateEvent.DISABLE),
    ):
        await call(change)
        assert listener.take() == [l3]
    await call(DeleteIpRange(uuid=range_))
    await call(DeleteL3Network(uuid=l3))
    assert listener.take() == [l3, l3]


async def test_what_was_refused_is_not_told(rig: Rig) -> None:
    listener = Listener()
    l3 = await rig.l3(await rig.l2())
    rig.extensions.provide(NetworkChanged, listener, name="test")
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    listener.take()
    with pytest.raises(CairnError):
        await rig.add_range(l3, "10.0.0.5", "10.0.0.20")
    assert listener.heard == []
