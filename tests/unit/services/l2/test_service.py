from __future__ import annotations

import pytest
from tests.unit.services.network_rig import CLUSTER, ZONE, Rig

from cairn.kernel.api import DeleteMode
from cairn.kernel.error import CairnError
from cairn.kernel.tag import UserTag
from cairn.services.l2.messages import CreateL2NoVlanNetwork, DeleteL2Network, UpdateL2Network


async def test_a_created_network_is_shown_with_its_interface_and_no_cluster(rig: Rig) -> None:
    shown = await rig.shown("L2Network", await rig.l2("wire", interface="eth7"))

    assert (shown["name"], shown["physicalInterface"], shown["type"]) == ("wire", "eth7", "L2NoVlanNetwork")
    assert (shown["vni"], shown["attachedClusterUuids"]) == (None, [])
    assert rig.agents.calls == []


async def test_vxlans_without_a_vni_get_the_lowest_free_one(rig: Rig) -> None:
    first, second, third = [await rig.vxlan(), await rig.vxlan(), await rig.vxlan()]
    await rig.context.bus.call(DeleteL2Network(uuid=second))
    again = await rig.vxlan()

    vnis = [(await rig.shown("L2Network", network))["vni"] for network in (first, again, third)]
    assert vnis == [10_000, 10_001, 10_002]


async def test_a_vni_that_is_taken_is_refused_naming_its_network(rig: Rig) -> None:
    await rig.vxlan("mine", vni=77)

    with pytest.raises(CairnError, match=r"found 77, which belongs to the L2 network mine") as caught:
        await rig.vxlan("yours", vni=77)

    assert caught.value.code == "l2.vni-taken"


async def test_a_used_up_range_of_vnis_says_which_settings_to_widen(rig: Rig) -> None:
    await rig.context.store.write(lambda tx: rig.context.config.set(tx, "l2", "vxlan.lastVni", "10000"))
    await rig.vxlan()

    with pytest.raises(CairnError, match=r"l2\.vxlan\.lastVni allow 10000 to 10000") as caught:
        await rig.vxlan()

    assert caught.value.code == "l2.no-free-vni"


async def test_an_update_changes_what_is_given_and_leaves_the_rest(rig: Rig) -> None:
    l2 = await rig.l2("wire")
    await rig.context.bus.call(UpdateL2Network(uuid=l2, description="the long one"))
    shown = await rig.shown("L2Network", l2)

    assert (shown["name"], shown["description"]) == ("wire", "the long one")


async def test_a_network_with_l3_networks_is_not_deleted_and_keeps_its_bridges(rig: Rig) -> None:
    rig.host(1)
    l2 = await rig.l2("wire")
    await rig.attach(l2)
    await rig.l3(l2, "lan")
    await rig.settle()

    with pytest.raises(CairnError, match="1 L3Network is in the L2 network wire: delete it first, or use") as caught:
        await rig.context.bus.call(DeleteL2Network(uuid=l2))

    assert caught.value.code == "l2.in-use"
    assert await rig.settle() == []


async def test_an_enforced_deletion_takes_the_l3_networks_along(rig: Rig) -> None:
    l2 = await rig.l2()
    l3 = await rig.l3(l2)

    await rig.context.bus.call(DeleteL2Network(uuid=l2, delete_mode=DeleteMode.ENFORCING))

    assert await rig.context.query.get("L2Network", l2) is None
    assert await rig.context.query.get("L3Network", l3) is None


async def test_deleting_takes_bridges_rows_and_tags_away_and_may_be_repeated(rig: Rig) -> None:
    rig.host(1)
    message = CreateL2NoVlanNetwork(
        resource_uuid=rig.ids.new(), name="wire", zone_uuid=ZONE, physical_interface="eth0", user_tags=["red"]
    )
    l2 = (await rig.context.bus.call(message)).uuid
    await rig.attach(l2, CLUSTER)
    await rig.settle()

    await rig.context.bus.call(DeleteL2Network(uuid=l2))
    await rig.context.bus.call(DeleteL2Network(uuid=l2))

    assert [type(command).__name__ for _, command in await rig.settle()] == ["RemoveBridge"]
    assert await rig.context.query.get("L2Network", l2) is None
    assert await rig.context.store.read(lambda tx: tx.count(UserTag)) == 0


async def test_a_failed_deletion_leaves_the_network_attached_with_its_bridges(rig: Rig) -> None:
    rig.host(1)
    l2 = await rig.l2()
    await rig.attach(l2)
    await rig.settle()
    rig.agents.refuse["network.remove-bridge"] = CairnError("agent.busy", "A VM is on it.")

    with pytest.raises(CairnError, match="A VM is on it"):
        await rig.context.bus.call(DeleteL2Network(uuid=l2))

    assert [type(command).__name__ for _, command in await rig.settle()] == ["RemoveBridge", "EnsureBridge"]
    assert (await rig.shown("L2Network", l2))["attachedClusterUuids"] == [CLUSTER]
