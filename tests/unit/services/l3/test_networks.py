from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.network_rig import Rig

from cairn.services.ids import L2NetworkId, L3NetworkId
from cairn.services.l2.manifest import MANIFEST as L2
from cairn.services.l3.extensions import NetworkChanged
from cairn.services.l3.manifest import MANIFEST as L3
from cairn.services.l3.networks import NetworkChanges
from cairn.services.l3.provided import L3Networks, L3Place, L3View

GONE = L3NetworkId("gone")


class Heard(NetworkChanged):
    def __init__(self) -> None:
        self.networks: list[str] = []

    def network_changed(self, l3_network: str) -> None:
        self.networks.append(l3_network)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = await Rig().start([L2, L3])
    yield rig
    await rig.stop()


async def views(rig: Rig, *networks: L3NetworkId) -> dict[L3NetworkId, L3View]:
    registry = rig.context.need(L3Networks)
    return await rig.context.store.read(lambda tx: registry.views(tx, networks))


async def places(rig: Rig, *networks: L3NetworkId) -> dict[L3NetworkId, L3Place]:
    registry = rig.context.need(L3Networks)
    return await rig.context.store.read(lambda tx: registry.places(tx, networks))


async def test_a_network_without_ranges_has_neither_netmask_nor_gateway(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2(), "lan")
    view = (await views(rig, l3))[l3]
    assert (view.uuid, view.netmask, view.gateway, view.dns, view.services) == (l3, None, None, [], {})
    await rig.add_range(l3, "10.0.0.1", "10.0.0.9", "255.255.255.0", name="r", gateway="10.0.0.254")
    view = (await views(rig, l3))[l3]
    assert (view.netmask, view.gateway) == ("255.255.255.0", "10.0.0.254")


async def test_networks_are_told_by_uuid_and_those_that_are_gone_are_left_out(rig: Rig) -> None:
    l2 = await rig.l2()
    first, second = await rig.l3(l2, "a"), await rig.l3(l2, "b")
    assert set(await views(rig, first, second, GONE)) == {first, second}
    assert set(await places(rig, first, GONE)) == {first}
    assert await views(rig) == {}
    assert await places(rig) == {}


async def test_a_change_is_told_once_it_is_committed(rig: Rig) -> None:
    heard = Heard()
    rig.context.extensions.provide(NetworkChanged, heard, name="test")
    l2 = await rig.l2()
    l3 = await rig.l3(l2, "lan")
    heard.networks.clear()
    changes = NetworkChanges(rig.context.extensions)
    await rig.context.store.write(lambda tx: changes.announce(tx, l3))
    assert heard.networks == [l3]
    await rig.context.store.write(lambda tx: changes.l2_attachment_changed(tx, l2))
    assert heard.networks == [l3, l3]
    await rig.context.store.write(lambda tx: changes.l2_attachment_changed(tx, L2NetworkId("other")))
    assert heard.networks == [l3, l3]
