from __future__ import annotations

import asyncio

from msgspec.structs import replace
from tests.unit.services.network_rig import CLUSTER, OTHER_CLUSTER, Rig

from cairn.agents.protocol.network import tunnel_generation
from cairn.services.ids import L2NetworkId
from cairn.services.l2.model import L2Network
from cairn.services.l2.tunnels import NO_TUNNELS, TunnelEnds, is_address


async def network(rig: Rig, l2: L2NetworkId) -> L2Network:
    row = await rig.context.store.read(lambda tx: tx.get(L2Network, l2))
    assert row is not None
    return row


async def test_the_ends_are_the_addresses_of_all_hosts_of_the_networks_clusters(rig: Rig) -> None:
    rig.host(2)
    rig.host(1, OTHER_CLUSTER, connected=False)
    rig.host(3, connected=False, address="named.example")
    l2 = await rig.vxlan()
    ends = TunnelEnds(rig.context.store, rig.context.bus, rig.clock)
    assert (await ends.of(await network(rig, l2))).in_order == ()

    for cluster in (CLUSTER, OTHER_CLUSTER):
        await rig.attach(l2, cluster)

    found = await ends.of(await network(rig, l2))
    assert found.in_order == ("192.0.2.1", "192.0.2.2")
    assert found.generation == tunnel_generation(found.addresses)


async def test_hosts_are_looked_at_once_until_one_comes_goes_or_moves(rig: Rig) -> None:
    host = rig.host(1)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    row, ends = await network(rig, l2), TunnelEnds(rig.context.store, rig.context.bus, rig.clock)
    rig.listed.clear()

    await asyncio.gather(*(ends.of(row) for _ in range(5)))
    assert len(rig.listed) == 1

    rig.host(2)
    assert (await ends.of(row)).in_order == ("192.0.2.1", "192.0.2.2")
    rig.hosts[host] = replace(rig.hosts[host], management_ip="192.0.2.9")
    assert (await ends.of(row)).in_order == ("192.0.2.2", "192.0.2.9")
    del rig.hosts[host]
    assert (await ends.of(row)).in_order == ("192.0.2.2",)
    assert len(rig.listed) == 4


async def test_a_set_of_many_ends_serves_for_as_many_milliseconds(rig: Rig) -> None:
    for number in range(1, 101):
        rig.host(number)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    row, ends = await network(rig, l2), TunnelEnds(rig.context.store, rig.context.bus, rig.clock)
    before = await ends.lately(row)
    rig.host(101)

    assert await ends.lately(row) is await ends.latest(row) is before
    await rig.clock.advance(0.11)
    now = await ends.lately(row)
    assert len(now.in_order) == 101
    assert await ends.latest(row) is now


async def test_a_set_that_was_read_anew_is_given_from_then_on(rig: Rig) -> None:
    for number in range(1, 101):
        rig.host(number)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    row, ends = await network(rig, l2), TunnelEnds(rig.context.store, rig.context.bus, rig.clock)
    await ends.lately(row)
    rig.host(101)

    now = await ends.of(row)

    assert await ends.lately(row) is await ends.latest(row) is now


async def test_few_ends_are_read_as_they_are(rig: Rig) -> None:
    rig.host(1)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    row, ends = await network(rig, l2), TunnelEnds(rig.context.store, rig.context.bus, rig.clock)
    assert len((await ends.latest(row)).in_order) == 1
    rig.host(2)

    assert len((await ends.lately(row)).in_order) == 2


async def test_what_came_and_what_went_between_two_sets(rig: Rig) -> None:
    gone = rig.host(1)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    row, ends = await network(rig, l2), TunnelEnds(rig.context.store, rig.context.bus, rig.clock)
    before = await ends.of(row)
    del rig.hosts[gone]
    rig.host(2)
    now = await ends.of(row)

    assert ends.changed(before, now) == (["192.0.2.2"], ["192.0.2.1"])
    assert ends.changed(before, now) is ends.changed(before, now)


async def test_a_network_without_tunnels_has_no_ends(rig: Rig) -> None:
    rig.host(1)
    l2 = await rig.l2()
    await rig.attach(l2)

    assert await TunnelEnds(rig.context.store, rig.context.bus, rig.clock).of(await network(rig, l2)) == NO_TUNNELS


def test_an_end_is_an_ipv4_address() -> None:
    assert is_address("192.0.2.1")
    assert not is_address("host-1.example")
    assert not is_address("2001:db8::1")
