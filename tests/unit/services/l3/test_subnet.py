from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.services.l3.subnet import Range, by_cidr, by_ends, check_neighbours, to_ip, to_long


def refused(start: str, end: str, netmask: str, gateway: str | None = None) -> CairnError:
    with pytest.raises(CairnError) as caught:
        by_ends(start, end, netmask, gateway)
    return caught.value


def test_a_range_knows_its_subnet_and_gateway() -> None:
    made = by_ends("10.1.2.10", "10.1.2.20", "255.255.255.0", "10.1.2.254")
    assert (to_ip(made.start), to_ip(made.end), to_ip(made.gateway)) == ("10.1.2.10", "10.1.2.20", "10.1.2.254")
    assert made.network == IPv4Network("10.1.2.0/24")


def test_the_first_address_is_the_gateway_when_none_is_given() -> None:
    assert to_ip(by_ends("10.1.2.10", "10.1.2.20", "255.255.255.0", None).gateway) == "10.1.2.1"


@pytest.mark.parametrize(
    ("start", "end", "netmask", "gateway", "field"),
    [
        ("10.0.0", "10.0.0.9", "255.255.255.0", None, "startIp"),
        ("10.0.0.300", "10.0.0.9", "255.255.255.0", None, "startIp"),
        ("10.0.0.2", "fe80::1", "255.255.255.0", None, "endIp"),
        ("10.0.0.9", "10.0.0.2", "255.255.255.0", None, "endIp"),
        ("10.0.0.2", "10.0.1.2", "255.255.255.0", None, "endIp"),
        ("10.0.0.0", "10.0.0.9", "255.255.255.0", None, "startIp"),
        ("10.0.0.2", "10.0.0.255", "255.255.255.0", None, "endIp"),
        ("10.0.0.2", "10.0.0.9", "255.0.255.0", None, "netmask"),
        ("10.0.0.2", "10.0.0.9", "0.0.0.0", None, "netmask"),
        ("10.0.0.2", "10.0.0.2", "255.255.255.255", None, "netmask"),
        ("10.0.0.2", "10.0.0.3", "255.255.255.254", None, "netmask"),
        ("127.0.0.2", "127.0.0.9", "255.255.255.0", None, "netmask"),
        ("169.254.0.2", "169.254.0.9", "255.255.255.0", None, "netmask"),
        ("224.0.0.2", "224.0.0.9", "255.255.255.0", None, "netmask"),
        ("250.0.0.2", "250.0.0.9", "255.255.255.0", None, "netmask"),
        ("10.0.0.2", "10.0.0.9", "255.255.255.0", "10.0.0.5", "gateway"),
        ("10.0.0.2", "10.0.0.9", "255.255.255.0", "10.0.1.1", "gateway"),
        ("10.0.0.2", "10.0.0.9", "255.255.255.0", "10.0.0.255", "gateway"),
        ("10.0.0.1", "10.0.0.9", "255.255.255.0", None, "gateway"),
    ],
)
def test_what_cannot_be_a_range_is_refused_with_the_field(
    start: str, end: str, netmask: str, gateway: str | None, field: str
) -> None:
    error = refused(start, end, netmask, gateway)
    assert list(error.fields) == [field]
    assert "would fit" in str(error)


def test_a_cidr_gives_all_addresses_but_network_gateway_and_broadcast() -> None:
    (made,) = by_cidr("10.0.0.0/29", None)
    assert (to_ip(made.gateway), to_ip(made.start), to_ip(made.end)) == ("10.0.0.1", "10.0.0.2", "10.0.0.6")


def test_a_gateway_in_the_middle_leaves_two_ranges() -> None:
    low, high = by_cidr("10.0.0.0/29", "10.0.0.4")
    assert (to_ip(low.start), to_ip(low.end)) == ("10.0.0.1", "10.0.0.3")
    assert (to_ip(high.start), to_ip(high.end)) == ("10.0.0.5", "10.0.0.6")


@pytest.mark.parametrize("cidr", ["10.0.0.0", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/31", "nonsense", "10.0.0.0/0"])
def test_what_is_no_subnet_is_refused(cidr: str) -> None:
    with pytest.raises(CairnError) as caught:
        by_cidr(cidr, None)
    assert list(caught.value.fields) == ["networkCidr"]


@given(st.integers(10 << 24, (11 << 24) - 1), st.integers(8, 30), st.data())
def test_ranges_of_a_subnet_have_every_address_but_three_once(base: int, prefix: int, data: st.DataObject) -> None:
    network = IPv4Network((base, prefix), strict=False)
    first, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
    gateway = data.draw(st.integers(first, last))
    ranges = by_cidr(str(network), to_ip(gateway))
    assert sum(made.end - made.start + 1 for made in ranges) == network.num_addresses - 3
    assert all(first <= made.start <= made.end <= last for made in ranges)
    assert not any(made.overlaps(gateway, gateway) for made in ranges)


def some(start: str, end: str, gateway: str = "10.0.0.1") -> Range:
    return Range(start=to_long(start), end=to_long(end), gateway=to_long(gateway), network=IPv4Network("10.0.0.0/24"))


def test_ranges_side_by_side_go_together() -> None:
    there = some("10.0.0.2", "10.0.0.9")
    check_neighbours(some("10.0.0.10", "10.0.0.19"), [there], [("there", there)])


@pytest.mark.parametrize(
    ("start", "end"), [("10.0.0.9", "10.0.0.12"), ("10.0.0.2", "10.0.0.2"), ("10.0.0.3", "10.0.0.4")]
)
def test_ranges_that_share_an_address_are_refused_naming_the_other(start: str, end: str) -> None:
    with pytest.raises(CairnError, match="outside of there") as caught:
        check_neighbours(some(start, end), [], [("there", some("10.0.0.2", "10.0.0.9"))])
    assert caught.value.code == "ip-range.overlaps"


def test_another_networks_gateway_is_no_address_for_vms() -> None:
    with pytest.raises(CairnError) as caught:
        check_neighbours(some("10.0.0.20", "10.0.0.30"), [], [("there", some("10.0.0.2", "10.0.0.9", "10.0.0.25"))])
    assert (caught.value.code, list(caught.value.fields)) == ("ip-range.overlaps", ["gateway"])


def test_another_gateway_in_the_same_network_is_refused() -> None:
    with pytest.raises(CairnError) as caught:
        check_neighbours(some("10.0.0.20", "10.0.0.30", "10.0.0.254"), [some("10.0.0.2", "10.0.0.9")], [])
    assert caught.value.code == "ip-range.another-subnet"
