from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.services.network_rig import (
    CLUSTER,
    OTHER_CLUSTER,
    ZONE,
    Rig,
    Syncs,
    missing_interface,
    names,
    unreachable,
)

from cairn.agents.protocol import codes
from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.network import ChangeVxlanPeers, EnsureVxlan, tunnel_generation
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.services.host.extensions import Candidate, HostConnected, HostFilter, HostNeed
from cairn.services.ids import HostId, ImageId, VmId
from cairn.services.l2.reconciler import L2Reconciler

FACTS = HostFacts(hostname="host", architecture="x86_64")


async def connect(rig: Rig, host: HostId) -> None:
    await rig.extensions.named(HostConnected, "l2").host_connecting(host, FACTS)
    rig.hosts[host] = replace(rig.hosts[host], connected=True)


async def test_a_connecting_host_gets_the_networks_of_its_cluster_and_no_others(rig: Rig) -> None:
    host = rig.host(1, connected=False)
    await rig.attach(await rig.l2("a", interface="eth0"))
    await rig.attach(await rig.vxlan(vni=5))
    await rig.attach(await rig.l2("b", interface="eth1"), OTHER_CLUSTER)
    await rig.settle()

    await connect(rig, host)

    assert names(await rig.settle()) == [(1, "EnsureBridge"), (1, "EnsureVxlan")]


async def test_a_new_host_is_told_to_the_hosts_that_are_there(rig: Rig) -> None:
    old = rig.host(1)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    await rig.settle()

    await connect(rig, rig.host(2, connected=False))

    calls = await rig.settle()
    assert names(calls) == [(1, "ChangeVxlanPeers"), (2, "EnsureVxlan")]
    told = dict(calls)[old]
    assert isinstance(told, ChangeVxlanPeers)
    assert (told.add, told.remove) == (["192.0.2.2"], [])
    assert told.generation == tunnel_generation(["192.0.2.1", "192.0.2.2"])


@pytest.mark.parametrize("agent", ["has other peers", "is of the version before"])
async def test_a_host_to_which_changes_do_not_fit_is_told_the_whole_set(rig: Rig, agent: str) -> None:
    old = rig.host(1)
    await rig.attach(await rig.vxlan(vni=5))
    if agent == "has other peers":
        rig.agents.ends[old, "br_vx_5"] = {"192.0.2.1", "192.0.2.66"}
    else:
        rig.agents.refuse[ChangeVxlanPeers.name] = CairnError("host.agent-lacks-command", "What is that?")
    await rig.settle()

    await connect(rig, rig.host(2, connected=False))

    told = [command for host, command in await rig.settle() if host == old]
    assert [type(command).__name__ for command in told] == ["ChangeVxlanPeers", "EnsureVxlan"]
    assert isinstance(told[1], EnsureVxlan)
    assert told[1].peers == ["192.0.2.2"]


async def test_a_host_whose_answer_to_a_change_was_lost_is_told_the_whole_set_next(rig: Rig) -> None:
    old = rig.host(1)
    await rig.attach(await rig.vxlan())
    rig.agents.refuse[ChangeVxlanPeers.name] = unreachable()
    await connect(rig, rig.host(2, connected=False))
    await rig.settle()
    rig.agents.refuse.clear()

    (part,) = rig.syncs.failed
    assert await rig.syncs.sync(old, "l2", part[2])

    asked, told = [command for host, command in await rig.settle() if host == old]
    assert isinstance(asked, ChangeVxlanPeers)
    assert (asked.add, asked.remove) == ([], [])  # whether it has taken it
    assert isinstance(told, EnsureVxlan)


async def test_a_host_with_another_address_of_its_own_is_told_the_whole_set(rig: Rig) -> None:
    old = rig.host(1)
    await rig.attach(await rig.vxlan())
    await rig.settle()
    rig.hosts[old] = replace(rig.hosts[old], management_ip="192.0.2.77")

    await connect(rig, rig.host(2, connected=False))

    (told,) = [command for host, command in await rig.settle() if host == old]
    assert isinstance(told, EnsureVxlan)
    assert (told.local_ip, told.peers) == ("192.0.2.77", ["192.0.2.2"])


async def test_a_host_that_comes_back_disturbs_nobody_and_is_told_a_digest_of_its_peers(rig: Rig) -> None:
    host = rig.host(1)
    rig.host(2)
    await rig.attach(await rig.vxlan())
    await rig.settle()

    await connect(rig, host)

    ((_, told),) = await rig.settle()
    assert isinstance(told, ChangeVxlanPeers)
    assert (told.add, told.remove) == ([], [])
    assert told.generation == tunnel_generation(["192.0.2.1", "192.0.2.2"])


async def test_hosts_that_join_one_after_the_other_are_told_of_together(rig: Rig) -> None:
    old = [rig.host(number) for number in range(1, 51)]
    await rig.attach(await rig.vxlan())
    await rig.settle()

    for number in range(51, 61):
        await connect(rig, rig.host(number, connected=False))
        await rig.clock.advance(0.1)
    calls = await rig.settle()

    told = [command for host, command in calls if host == old[0]]
    assert [len(command.add) for command in told if isinstance(command, ChangeVxlanPeers)] == [1, 4, 5]
    assert len(calls) < 4 * 60


async def test_hosts_that_connect_together_have_the_others_told_once(rig: Rig) -> None:
    rig.host(1)
    await rig.attach(await rig.vxlan())
    await rig.settle()
    new = [rig.host(number, connected=False) for number in range(2, 7)]

    for host in new:
        await connect(rig, host)
    calls = await rig.settle()

    assert [name for name in names(calls) if name[0] == 1] == [(1, "ChangeVxlanPeers")]


async def test_hosts_that_join_while_others_are_told_make_one_more_round_after_its_pause(rig: Rig) -> None:
    old = [rig.host(number) for number in range(1, 41)]
    await rig.attach(await rig.vxlan())
    await rig.settle()
    rig.agents.gated.add(old[0])

    for number in range(41, 44):
        await connect(rig, rig.host(number, connected=False))
        await rig.clock.advance(0)  # the first begins a round, which waits for the answer of a host
    await rig.clock.advance(0.5)  # longer than the pause
    rig.agents.gated.clear()
    rig.agents.gates[old[0]].set()
    await rig.clock.advance(0)
    await connect(rig, rig.host(44, connected=False))
    await rig.clock.advance(0.3)
    told = [command for host, command in rig.agents.take() if host == old[1]]
    rest = [command for host, command in await rig.settle() if host == old[1]]

    assert [len(command.add) for command in told if isinstance(command, ChangeVxlanPeers)] == [1]
    assert [len(command.add) for command in rest if isinstance(command, ChangeVxlanPeers)] == [3]


async def test_hosts_that_join_quickly_do_not_each_cost_a_look_at_all(rig: Rig) -> None:
    old = [rig.host(number) for number in range(1, 101)]
    await rig.attach(await rig.vxlan())
    await rig.settle()
    rig.listed.clear()

    new = [rig.host(number, connected=False) for number in range(101, 141)]
    for host in new:
        await connect(rig, host)
    at_all = sum(bool(asked.cluster_uuids) for asked in rig.listed)
    calls = await rig.settle()

    assert at_all <= 4  # one for the ends, two for each round: its hosts, and the ends
    assert {host for host, _ in calls} == {*old, *new}
    assert {len(rig.agents.ends[host, bridge]) for host, bridge in rig.agents.ends} == {140}


async def test_an_old_answer_does_not_pass_for_the_state_after_a_reconnect(rig: Rig) -> None:
    host = rig.host(1, connected=False)
    l2 = await rig.vxlan()
    await rig.attach(l2)
    rig.hosts[host] = replace(rig.hosts[host], connected=True)
    reconciler = rig.extensions.named(HostConnected, "l2")
    assert isinstance(reconciler, L2Reconciler)
    rig.agents.gated.add(host)
    task = asyncio.ensure_future(reconciler.ensure(host, [l2]))
    await rig.clock.settle()
    connecting = asyncio.ensure_future(reconciler.host_connecting(host, FACTS))
    await rig.clock.settle()
    assert names(rig.agents.take()) == [(1, "EnsureVxlan")]  # the connect waits for the host's turn
    rig.agents.refuse[host] = missing_interface()
    rig.agents.gates[host].set()
    with pytest.raises(CairnError):
        await task
    await connecting
    rig.agents.refuse.clear()
    await rig.settle()

    await reconciler.ensure(host, [l2])

    assert names(await rig.settle()) == [(1, "EnsureVxlan")]


async def test_a_network_that_cannot_be_made_keeps_neither_the_host_nor_its_other_networks(rig: Rig) -> None:
    host = rig.host(1, connected=False)
    bad, good = await rig.l2(interface="eth9"), await rig.vxlan()
    await rig.attach(bad)
    await rig.attach(good)
    l3 = await rig.l3(bad)
    rig.agents.refuse["network.ensure-bridge"] = missing_interface()

    await connect(rig, host)

    assert names(await rig.settle()) == [(1, "EnsureBridge"), (1, "EnsureVxlan")]
    assert list(rig.syncs.failed) == [(host, "l2", bad)]
    need = HostNeed(
        vm_uuid=VmId("vm"),
        cpu_num=1,
        memory_size=1,
        disk_bytes=0,
        image_uuid=ImageId("image"),
        l3_network_uuids=[l3],
    )
    candidate = Candidate(host_uuid=host, cluster_uuid=CLUSTER, zone_uuid=ZONE, name="host-1")
    judge = rig.extensions.named(HostFilter, "l3")
    refused = await rig.context.store.write(lambda tx: judge.refuse(tx, need, [candidate]))
    assert refused == {host: "could not be given the L2 network of L3 network lan"}

    rig.agents.refuse.clear()
    assert await rig.syncs.sync(host, "l2", bad)

    assert await rig.context.store.write(lambda tx: judge.refuse(tx, need, [candidate])) == {}


async def test_many_cold_hosts_cost_one_look_at_all_of_them(rig: Rig) -> None:
    hosts = [rig.host(number) for number in range(1, 9)]
    l2 = await rig.vxlan()
    await rig.attach(l2)
    await rig.settle()
    fresh = L2Reconciler(
        rig.context.store,
        rig.context.bus,
        rig.clock,
        rig.context.queues,
        rig.agents,
        Syncs(),
        Events(rig.context.store, rig.clock, lambda: 3600.0),  # of a node of its own
        rig.context.config,
    )
    rig.listed.clear()

    await asyncio.gather(*(fresh.ensure(host, [l2]) for host in hosts))

    assert len(rig.agents.take()) == len(hosts)
    assert sum(bool(asked.cluster_uuids) for asked in rig.listed) == 1


async def test_a_host_known_by_name_only_is_told_that_tunnels_need_an_address(rig: Rig) -> None:
    rig.host(1, address="host-1.example")
    rig.host(2)
    l2 = await rig.vxlan()

    with pytest.raises(CairnError, match="its tunnel") as caught:
        await rig.attach(l2)

    assert caught.value.cause is not None
    assert caught.value.cause.code == "l2.no-tunnel-address"
    told = [command for _, command in await rig.settle() if isinstance(command, EnsureVxlan)]
    assert [command.peers for command in told] == [[]]


async def test_a_failing_refresh_is_tried_again_at_the_next_occasion(rig: Rig) -> None:
    old = rig.host(1)
    await rig.attach(await rig.vxlan())
    rig.agents.refuse[old] = missing_interface()
    await connect(rig, rig.host(2, connected=False))
    await rig.settle()
    rig.agents.refuse.clear()

    await connect(rig, rig.host(3, connected=False))

    calls = [command for host, command in await rig.settle() if host == old]
    assert isinstance(calls[-1], EnsureVxlan)
    assert calls[-1].peers == ["192.0.2.2", "192.0.2.3"]


async def test_parallelism_bounds_how_many_hosts_are_worked_on(rig: Rig) -> None:
    await rig.context.store.write(lambda tx: rig.context.config.set(tx, "l2", "realize.parallelism", "3"))
    hosts = [rig.host(number) for number in range(1, 9)]
    rig.agents.gated.update(hosts)
    l2 = await rig.l2()
    task = asyncio.ensure_future(rig.attach(l2, CLUSTER))
    await rig.clock.settle()

    assert len(rig.agents.calls) == 3
    rig.agents.gated.clear()
    for host in hosts:
        rig.agents.gates[host].set()
    await task
    assert len(rig.agents.calls) == 8


async def test_an_asker_that_has_lost_its_work_is_told_just_that(rig: Rig) -> None:
    host = rig.host(1)
    l2 = await rig.l2(interface="eth0")
    await rig.attach(l2)
    await rig.settle()
    reconciler = rig.extensions.named(HostConnected, "l2")
    assert isinstance(reconciler, L2Reconciler)
    reconciler.hosts_changed(frozenset({host}))
    rig.agents.refuse[host] = CairnError(codes.STALE_EPOCH, "Another node has taken this over.")

    with pytest.raises(CairnError) as caught:
        await reconciler.ensure(host, [l2])

    assert caught.value.code == codes.STALE_EPOCH
