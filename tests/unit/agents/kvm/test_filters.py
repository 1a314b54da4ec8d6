"""The scripts that nft is given; what they do to frames is shown by `tests/system/test_guest_filters.py`."""

from __future__ import annotations

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.kvm.filters import TapFilters, TunnelFilter, tunnel_rules
from cairn.agents.protocol import codes
from cairn.agents.protocol.vm import Tap

TAP = Tap(vm="a" * 32, device="vnic1.0", mac="fa:00:00:00:00:01", addresses=["10.0.0.5"])
FREE = Tap(vm="a" * 32, device="vnic1.1", mac="fa:00:00:00:00:02")


def filters(runner: FakeRunner) -> TapFilters:
    return TapFilters(runner, lambda mac: "cfd1" if mac == TAP.mac else None)


async def test_a_tap_is_bound_to_its_card_and_its_addresses_in_one_transaction() -> None:
    runner = FakeRunner()
    await filters(runner).set([TAP, FREE])
    assert runner.ran == ["nft -f -"]
    lines = runner.batches
    assert 'add element bridge cairn_taps sends { "vnic1.0" : jump sends-vnic1.0 }' in lines
    assert "add rule bridge cairn_taps sends-vnic1.0 ether saddr != fa:00:00:00:00:01 drop" in lines
    assert "add rule bridge cairn_taps sends-vnic1.0 ip saddr { 10.0.0.5 } accept" in lines
    assert "add rule bridge cairn_taps sends-vnic1.1 ether type ip accept" in lines
    for tap in (TAP, FREE):
        assert [line for line in lines if f"sends-{tap.device} " in line][-1].endswith(" drop")


async def test_dhcp_replies_come_from_the_hosts_own_server_where_there_is_one() -> None:
    runner = FakeRunner()
    await filters(runner).set([TAP, FREE])
    guarded = [line for line in runner.batches if "udp sport 67 drop" in line and "hears-" in line]
    assert guarded == [
        'add rule bridge cairn_taps hears-vnic1.0 iifname != "cfd1" ether type ip udp sport 67 drop',
    ]


async def test_a_tap_is_forgotten_by_its_name_whether_it_was_known_or_not() -> None:
    runner = FakeRunner()
    await filters(runner).remove(["vnic1.0"])
    lines = runner.batches
    made = lines.index('add element bridge cairn_taps sends { "vnic1.0" : jump sends-vnic1.0 }')
    gone = lines.index('delete element bridge cairn_taps sends { "vnic1.0" }')
    assert made < gone < lines.index("delete chain bridge cairn_taps sends-vnic1.0")
    await filters(runner).remove([])
    assert len(runner.ran) == 1


async def test_replacing_and_clearing_begin_with_nothing() -> None:
    runner, other = FakeRunner(), FakeRunner()
    await filters(runner).replace([TAP])
    await filters(other).clear()
    for one in (runner, other):
        assert one.batches[:2] == ["add table bridge cairn_taps", "delete table bridge cairn_taps"]


@pytest.mark.parametrize(
    "tap",
    [
        Tap(vm="a" * 32, device='x" drop', mac=TAP.mac),
        Tap(vm="a" * 32, device="vnic1", mac="fa:00:00:00:00:01 accept"),
        Tap(vm="a" * 32, device="vnic1", mac=TAP.mac, addresses=["0.0.0.0/0"]),
    ],
)
async def test_what_is_no_name_and_no_address_gets_into_no_script(tap: Tap) -> None:
    runner = FakeRunner()
    with pytest.raises(AgentError) as caught:
        await filters(runner).set([tap])
    assert caught.value.code == codes.BAD_REQUEST
    assert runner.ran == []


def test_a_tunnels_port_takes_packets_from_peers_only() -> None:
    rules = [line.strip() for line in tunnel_rules({4789: ["198.18.0.3", "198.18.0.2"], 8472: []}).splitlines()]
    assert rules.index("udp dport 4789 ip saddr { 198.18.0.2, 198.18.0.3 } accept") < rules.index("udp dport 4789 drop")
    assert "udp dport 8472 drop" in rules


async def test_without_tunnels_there_is_no_table() -> None:
    runner = FakeRunner()
    await TunnelFilter(runner).set({})
    assert runner.batches == ["add table inet cairn_tunnels", "delete table inet cairn_tunnels"]
