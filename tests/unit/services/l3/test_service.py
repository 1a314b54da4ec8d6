from __future__ import annotations

from typing import cast

import pytest
from tests.unit.services.network_rig import ZONE, Rig, uuid

from cairn.kernel.api import ApiCreate, StateEvent
from cairn.kernel.error import CairnError
from cairn.kernel.resource import Resource
from cairn.kernel.store.store import Tx
from cairn.services.ids import L3NetworkId
from cairn.services.l3.messages import (
    AddDnsToL3Network,
    ChangeL3NetworkState,
    DeleteL3Network,
    RemoveDnsFromL3Network,
    UpdateL3Network,
)
from cairn.services.l3.model import IpRange, L3NetworkDns, NetworkServiceL3NetworkRef, UsedIp
from cairn.services.l3.steps.addresses import ClaimAddresses, ClaimAddressesInput


async def claim(rig: Rig, vm: int, l3: L3NetworkId) -> None:
    step = cast("ClaimAddresses", rig.step("l3.claim-addresses"))
    given = ClaimAddressesInput(uuid=uuid(vm, 5), l3_network_uuids=[l3], asked=ApiCreate())
    await rig.context.store.write(lambda tx: step.do(tx, given))


async def test_a_created_network_is_in_its_l2_networks_zone(rig: Rig) -> None:
    l2 = await rig.l2()
    shown = await rig.shown("L3Network", await rig.l3(l2, "lan"))
    assert (shown["zoneUuid"], shown["l2NetworkUuid"], shown["state"]) == (ZONE, l2, "Enabled")
    assert (shown["ipRanges"], shown["dns"]) == ([], [])


async def test_a_network_on_an_l2_network_that_is_gone_is_refused(rig: Rig) -> None:
    with pytest.raises(CairnError) as caught:
        await rig.l3(uuid(9, 9))
    assert caught.value.code == "l2.not-found"


async def test_an_update_changes_what_is_given_and_leaves_the_rest(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2(), "lan")
    await rig.context.bus.call(UpdateL3Network(uuid=l3, dns_domain="example.com", system=True))
    shown = await rig.shown("L3Network", l3)
    assert (shown["name"], shown["dnsDomain"], shown["system"]) == ("lan", "example.com", True)


async def test_a_state_changes_there_and_back(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    for event, state in ((StateEvent.DISABLE, "Disabled"), (StateEvent.ENABLE, "Enabled")):
        await rig.context.bus.call(ChangeL3NetworkState(uuid=l3, state_event=event))
        assert (await rig.shown("L3Network", l3))["state"] == state


async def test_name_servers_are_kept_in_order_and_once(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    for dns in ("9.9.9.9", "1.1.1.1", "9.9.9.9"):
        await rig.context.bus.call(AddDnsToL3Network(l3_network_uuid=l3, dns=dns))
    assert (await rig.shown("L3Network", l3))["dns"] == ["9.9.9.9", "1.1.1.1"]

    for _ in range(2):
        await rig.context.bus.call(RemoveDnsFromL3Network(l3_network_uuid=l3, dns="9.9.9.9"))
    assert (await rig.shown("L3Network", l3))["dns"] == ["1.1.1.1"]


@pytest.mark.parametrize("message", [AddDnsToL3Network, RemoveDnsFromL3Network])
def test_a_name_server_that_is_not_an_address_is_refused_before_the_call_is_accepted(
    message: type[AddDnsToL3Network] | type[RemoveDnsFromL3Network],
) -> None:
    with pytest.raises(CairnError, match=r"found 'dns\.example'") as caught:
        message(l3_network_uuid=uuid(1, 4), dns="dns.example").check()
    assert list(caught.value.fields) == ["dns"]


async def test_a_network_with_vms_is_not_deleted_and_they_are_counted(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2(), "lan")
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    await claim(rig, 1, l3)
    await claim(rig, 2, l3)

    with pytest.raises(CairnError, match="lan cannot be deleted: 2 VMs") as caught:
        await rig.context.bus.call(DeleteL3Network(uuid=l3))

    assert (caught.value.code, caught.value.details["vms"]) == ("l3.in-use", 2)


async def test_deleting_leaves_nothing_of_a_network_and_may_be_repeated(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    await rig.context.bus.call(AddDnsToL3Network(l3_network_uuid=l3, dns="9.9.9.9"))

    for _ in range(2):
        await rig.context.bus.call(DeleteL3Network(uuid=l3))

    def left(tx: Tx) -> list[int]:
        kinds = (IpRange, UsedIp, L3NetworkDns, NetworkServiceL3NetworkRef)
        return [*(tx.count(kind) for kind in kinds), tx.count(Resource, type="IpRange")]

    assert await rig.context.store.read(left) == [0, 0, 0, 0, 0]
