from __future__ import annotations

import pytest
from tests.unit.services.l3.test_service import claim
from tests.unit.services.network_rig import ZONE, Rig

from cairn.kernel.error import CairnError
from cairn.kernel.query.engine import QueryRequest
from cairn.services.l3.messages import (
    AddIpRangeByNetworkCidr,
    CheckIpAvailability,
    DeleteIpRange,
    GetFreeIp,
    GetIpAddressCapacity,
    IpAvailability,
)


async def test_a_range_is_shown_with_its_subnet_and_without_its_cursor(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    shown = await rig.shown("IpRange", await rig.add_range(l3, "10.0.0.10", "10.0.0.99"))
    assert (shown["startIp"], shown["endIp"], shown["gateway"]) == ("10.0.0.10", "10.0.0.99", "10.0.0.1")
    assert (shown["networkCidr"], shown["prefixLen"], shown["netmask"]) == ("10.0.0.0/24", 24, "255.255.255.0")
    assert "nextLong" not in shown


async def test_a_range_may_not_overlap_one_of_another_network_on_the_same_wire(rig: Rig) -> None:
    l2 = await rig.l2()
    await rig.add_range(await rig.l3(l2, "old"), "10.0.0.10", "10.0.0.20", name="low")
    with pytest.raises(CairnError, match="the range low of the L3 network old") as caught:
        await rig.add_range(await rig.l3(l2, "new"), "10.0.0.20", "10.0.0.30")
    assert caught.value.code == "ip-range.overlaps"


async def test_the_same_range_fits_on_another_wire(rig: Rig) -> None:
    for interface in ("eth0", "eth1"):
        await rig.add_range(await rig.l3(await rig.l2(interface=interface)), "10.0.0.10", "10.0.0.20")


async def test_a_second_subnet_of_one_network_is_refused(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    await rig.add_range(l3, "10.0.0.10", "10.0.0.20")
    with pytest.raises(CairnError) as caught:
        await rig.add_range(l3, "10.0.1.10", "10.0.1.20")
    assert caught.value.code == "ip-range.another-subnet"


async def test_a_cidr_with_its_gateway_in_the_middle_makes_two_ranges(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    answer = await rig.context.bus.call(
        AddIpRangeByNetworkCidr(
            resource_uuid=rig.ids.new(), l3_network_uuid=l3, name="all", network_cidr="10.0.0.0/24", gateway="10.0.0.9"
        )
    )
    found = (await rig.context.query.run(QueryRequest(entity="IpRange", sort="endIp"))).inventories or []
    assert sorted((str(row["startIp"]), str(row["endIp"])) for row in found) == [
        ("10.0.0.1", "10.0.0.8"),
        ("10.0.0.10", "10.0.0.254"),
    ]
    assert (await rig.shown("IpRange", answer.uuid))["startIp"] == "10.0.0.1"


async def test_a_range_with_addresses_of_vms_is_not_deleted(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    range_ = await rig.add_range(l3, "10.0.0.2", "10.0.0.9", name="low")
    await claim(rig, 1, l3)
    with pytest.raises(CairnError, match="low cannot be deleted: 1 VMs") as caught:
        await rig.context.bus.call(DeleteIpRange(uuid=range_))
    assert caught.value.code == "ip-range.in-use"


async def test_an_unused_range_is_deleted_with_its_dhcp_servers_address(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    range_ = await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    for _ in range(2):
        await rig.context.bus.call(DeleteIpRange(uuid=range_))
    assert (await rig.context.query.run(QueryRequest(entity="UsedIp", count=True))).total == 0
    assert (await rig.context.query.run(QueryRequest(entity="FlatDhcpServer", count=True))).total == 0


async def test_free_addresses_leave_out_what_is_taken(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    await rig.add_range(l3, "10.0.0.2", "10.0.0.6")  # .2 is the DHCP server's
    await claim(rig, 1, l3)
    free = (await rig.context.bus.call(GetFreeIp(l3_network_uuid=l3, limit=2))).inventories
    assert [one.ip for one in free] == ["10.0.0.4", "10.0.0.5"]
    free = (await rig.context.bus.call(GetFreeIp(l3_network_uuid=l3, start="10.0.0.6"))).inventories
    assert [one.ip for one in free] == ["10.0.0.6"]


async def test_capacity_is_told_by_range_network_and_zone(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    range_ = await rig.add_range(l3, "10.0.0.2", "10.0.0.11")
    await claim(rig, 1, l3)
    for message, kind, resource in (
        (GetIpAddressCapacity(ip_range_uuids=[range_]), "IpRange", range_),
        (GetIpAddressCapacity(l3_network_uuids=[l3]), "L3Network", l3),
        (GetIpAddressCapacity(zone_uuids=[ZONE]), "Zone", ZONE),
        (GetIpAddressCapacity(all=True), "Zone", ZONE),
    ):
        answer = await rig.context.bus.call(message)
        assert (answer.total_capacity, answer.available_capacity, answer.used_ip_address_number) == (10, 8, 2)
        assert (answer.resource_type, [one.resource_uuid for one in answer.capacity_data]) == (kind, [resource])


async def test_asking_for_the_capacity_of_nothing_says_what_to_name(rig: Rig) -> None:
    with pytest.raises(CairnError, match="zoneUuids, l3NetworkUuids and ipRangeUuids"):
        await rig.context.bus.call(GetIpAddressCapacity())


@pytest.mark.parametrize(
    ("ip", "reason"),
    [
        ("10.0.0.3", "10.0.0.3 is taken"),  # by whom is not everybody's affair
        ("10.0.0.2", "10.0.0.2 is taken"),
        ("10.0.0.1", "gateway"),
        ("10.0.0.77", "in none of the network's address ranges"),
        ("10.0.0.4", None),
    ],
)
async def test_whether_an_address_can_be_taken_is_told_with_the_reason(rig: Rig, ip: str, reason: str | None) -> None:
    l3 = await rig.l3(await rig.l2())
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    await claim(rig, 1, l3)
    answer: IpAvailability = await rig.context.bus.call(CheckIpAvailability(l3_network_uuid=l3, ip=ip))
    assert answer.available is (reason is None)
    assert (reason or "") in (answer.reason or "")
