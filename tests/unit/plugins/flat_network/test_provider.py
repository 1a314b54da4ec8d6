from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.services.network_rig import CLUSTER, Rig, unreachable, uuid

from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.network import (
    DhcpEntry,
    EnsureDhcp,
    KeepDhcp,
    MetadataEntry,
    RemoveDhcpEntries,
)
from cairn.agents.protocol.wire import MAX_REQUEST_BYTES
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Tx
from cairn.plugins.flat_network.model import FlatDhcpServer
from cairn.services.host.extensions import HostConnected
from cairn.services.ids import HostId, L3NetworkId, VmId
from cairn.services.l3.messages import (
    AddDnsToL3Network,
    AttachNetworkServiceToL3Network,
    DeleteIpRange,
    DetachNetworkServiceFromL3Network,
    RemoveDnsFromL3Network,
    UpdateL3Network,
)
from cairn.services.l3.model import L3Network
from cairn.services.l3.providers import provider_uuid
from cairn.services.vm.extensions import NicSpec, VmNetworks, VmNetworkService

R = TypeVar("R")
FACTS = HostFacts(hostname="host", architecture="x86_64")
FLAT = provider_uuid("Flat")


def nic(number: int, l3: str, *, default: bool = True) -> NicSpec:
    return NicSpec(
        uuid=uuid(number, 6),
        mac=f"fa:00:00:00:00:{number:02x}",
        ip=f"10.0.0.{number}",
        netmask="255.255.255.0",
        gateway="10.0.0.1",
        l3_network_uuid=L3NetworkId(l3),
        device_id=0,
        internal_name=f"vnic{number}.0",
        is_default=default,
    )


def entry(number: int, *, default: bool = True) -> DhcpEntry:
    return DhcpEntry(
        mac=f"fa:00:00:00:00:{number:02x}",
        ip=f"10.0.0.{number}",
        hostname=f"vm-{number}",
        vm=uuid(number, 5),
        is_default=default,
    )


def vm(number: int, host: HostId, *nics: NicSpec) -> VmNetworks:
    return VmNetworks(
        uuid=VmId(uuid(number, 5)),
        host_uuid=host,
        hostname=f"vm-{number}",
        nics=list(nics),
        bridges={one.l3_network_uuid: "br_eth0" for one in nics},
        user_data=b"#cloud-config",
        ssh_keys=["ssh-ed25519 AAAA"],
    )


def running(number: int, host: HostId, *nics: NicSpec) -> VmNetworks:
    return VmNetworks(uuid=VmId(uuid(number, 5)), host_uuid=host, hostname=f"vm-{number}", nics=list(nics))


def metadata(number: int, *, bare: bool = False) -> MetadataEntry:
    return MetadataEntry(
        ip=f"10.0.0.{number}",
        vm=uuid(number, 5),
        hostname=f"vm-{number}",
        user_data=None if bare else b"#cloud-config",
        ssh_keys=[] if bare else ["ssh-ed25519 AAAA"],
    )


async def lan(rig: Rig, cluster: str = CLUSTER, *, interface: str = "eth0") -> str:
    l2 = await rig.l2(interface=interface)
    await rig.attach(l2, cluster)
    l3 = await rig.l3(l2)
    await rig.add_range(l3, "10.0.0.2", "10.0.0.99")
    await rig.settle()
    return l3


def service(rig: Rig) -> VmNetworkService:
    return rig.extensions.named(VmNetworkService, "Flat")


async def connect(rig: Rig, host: HostId) -> None:
    await rig.extensions.named(HostConnected, "Flat").host_connecting(host, FACTS)


async def servers(rig: Rig) -> dict[str, str]:
    rows = await rig.context.store.read(lambda tx: tx.find(FlatDhcpServer))
    return {row.l3_network_uuid: row.ip for row in rows}


async def test_a_network_gets_its_dhcp_servers_address_with_its_first_range(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    assert await servers(rig) == {}
    await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    await rig.add_range(l3, "10.0.0.20", "10.0.0.29")
    assert await servers(rig) == {l3: "10.0.0.2"}


async def test_a_vm_costs_one_call_for_dhcp_and_metadata(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    await rig.context.bus.call(AddDnsToL3Network(l3_network_uuid=l3, dns="9.9.9.9"))
    await rig.context.bus.call(UpdateL3Network(uuid=l3, dns_domain="example.com"))

    await service(rig).apply(vm(5, host, nic(5, l3)))

    assert rig.agents.take() == [
        (
            host,
            EnsureDhcp(
                network=l3,
                bridge="br_eth0",
                dhcp_ip="10.0.0.2",
                netmask="255.255.255.0",
                gateway="10.0.0.1",
                dns=["9.9.9.9"],
                domain="example.com",
                mtu=1500,
                entries=[entry(5)],
                metadata=[metadata(5)],
            ),
        ),
    ]


async def test_two_cards_in_one_network_cost_one_call(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    both = vm(5, host, nic(5, l3), nic(6, l3, default=False))
    await service(rig).apply(both)
    await service(rig).release(both)
    ensure, remove = (command for _, command in rig.agents.take())
    assert isinstance(ensure, EnsureDhcp)
    assert [one.ip for one in ensure.entries] == [one.ip for one in ensure.metadata] == ["10.0.0.5", "10.0.0.6"]
    macs = ["fa:00:00:00:00:05", "fa:00:00:00:00:06"]
    assert remove == RemoveDhcpEntries(network=l3, macs=macs, vms=[uuid(5, 5)])


async def test_only_the_services_that_are_attached_are_given(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    unattached = {FLAT: ["Userdata", "DNS"]}
    await rig.context.bus.call(DetachNetworkServiceFromL3Network(l3_network_uuid=l3, network_services=unattached))
    await service(rig).apply(vm(5, host, nic(5, l3)))
    (call,) = (command for _, command in rig.agents.take())
    assert isinstance(call, EnsureDhcp)
    assert (call.entries, call.metadata) == ([entry(5)], [])


async def test_a_network_that_flat_does_not_serve_is_left_alone(rig: Rig) -> None:
    await rig.context.store.write(lambda tx: rig.context.config.set(tx, "flatNetwork", "autoAttach", "false"))
    host, l3 = rig.host(1), await lan(rig)
    await service(rig).apply(vm(5, host, nic(5, l3)))
    await service(rig).release(vm(5, host, nic(5, l3)))
    assert rig.agents.calls == []
    assert await servers(rig) == {}


async def test_attaching_later_claims_the_address_then(rig: Rig) -> None:
    await rig.context.store.write(lambda tx: rig.context.config.set(tx, "flatNetwork", "autoAttach", "false"))
    l3 = await lan(rig)
    await rig.context.bus.call(AttachNetworkServiceToL3Network(l3_network_uuid=l3, network_services={FLAT: ["DHCP"]}))
    assert await servers(rig) == {l3: "10.0.0.2"}


async def test_many_vms_that_first_need_a_server_agree_on_one_address(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    await rig.context.store.write(lambda tx: tx.delete(FlatDhcpServer, l3))

    await asyncio.gather(*(service(rig).apply(vm(n, host, nic(n, l3))) for n in range(10, 20)))

    used = {command.dhcp_ip for _, command in rig.agents.take() if isinstance(command, EnsureDhcp)}
    assert used == set((await servers(rig)).values())
    assert len(used) == 1


async def test_each_network_of_a_vm_is_served_and_one_is_the_default(rig: Rig) -> None:
    host, first, second = rig.host(1), await lan(rig), await lan(rig, interface="eth1")
    await service(rig).apply(vm(5, host, nic(5, first), nic(6, second, default=False)))
    told = {c.network: c.entries[0].is_default for _, c in rig.agents.take() if isinstance(c, EnsureDhcp)}
    assert told == {first: True, second: False}


async def test_releasing_takes_the_vm_from_dhcp_and_metadata(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    await service(rig).release(vm(5, host, nic(5, l3)))
    assert rig.agents.take() == [
        (host, RemoveDhcpEntries(network=l3, macs=["fa:00:00:00:00:05"], vms=[uuid(5, 5)])),
    ]


async def test_an_agents_error_is_told_when_all_calls_have_ended(rig: Rig) -> None:
    host, first, second = rig.host(1), await lan(rig), await lan(rig, interface="eth1")
    rig.agents.refuse["flat.ensure-dhcp"] = unreachable()
    with pytest.raises(CairnError) as caught:
        await service(rig).apply(vm(5, host, nic(5, first), nic(6, second)))
    assert caught.value.code == "agent.unreachable"
    assert len(rig.agents.take()) == 2


async def test_a_connecting_host_gets_its_vms_in_one_call_and_loses_all_others(rig: Rig) -> None:
    host, l3, empty = rig.host(1, connected=False), await lan(rig), await lan(rig, interface="eth1")
    rig.vms[host] = [running(5, host, nic(5, l3)), running(6, host, nic(6, l3))]

    await connect(rig, host)

    ensure, keep = (command for _, command in rig.agents.take())
    assert isinstance(ensure, EnsureDhcp)
    assert (ensure.entries, ensure.bridge) == ([entry(5), entry(6)], "br_eth0")
    assert ensure.metadata == [metadata(5, bare=True), metadata(6, bare=True)]
    assert keep == KeepDhcp(macs={l3: [entry(5).mac, entry(6).mac]})
    assert empty not in keep.macs


async def test_what_is_more_than_a_request_takes_is_told_in_several(rig: Rig) -> None:
    host, l3 = rig.host(1, connected=False), await lan(rig)
    keys = [f"ssh-ed25519 {'A' * 4000}" for _ in range(100)]
    vms = [running(number, host, nic(number, l3)) for number in range(5, 9)]
    rig.vms[host] = [replace(one, ssh_keys=keys) for one in vms]
    rig.vms[host].append(replace(running(9, host, nic(9, l3)), ssh_keys=keys * 3))

    await connect(rig, host)

    calls = [command for _, command in rig.agents.take()]
    assert max(len(msgspec.json.encode(call)) for call in calls) <= MAX_REQUEST_BYTES
    told = [
        (len(call.entries), sum(len(one.ssh_keys) for one in call.metadata))
        for call in calls
        if isinstance(call, EnsureDhcp)
    ]
    assert told == [(1, 100), (1, 100), (1, 100), (2, 100)]  # the last VM has its network, and no metadata
    assert rig.syncs.failed == {}


async def test_a_network_that_cannot_be_served_keeps_neither_the_host_nor_the_others(rig: Rig) -> None:
    host, first, second = rig.host(1, connected=False), await lan(rig), await lan(rig, interface="eth1")
    rig.vms[host] = [running(5, host, nic(5, first), nic(6, second))]
    rig.agents.refuse["flat.ensure-dhcp"] = CairnError("agent.bridge-missing", "There is no bridge.")

    await connect(rig, host)

    *ensured, keep = (command for _, command in rig.agents.take())
    assert [type(command) for command in ensured] == [EnsureDhcp, EnsureDhcp]
    assert keep == KeepDhcp(macs={first: [entry(5).mac], second: [entry(6).mac]})
    assert list(rig.syncs.failed) == [(host, "flat", "")]


async def test_connecting_waits_for_the_vm_that_is_being_served_and_the_other_way_round(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    rig.agents.gated.add(host)
    starting = asyncio.ensure_future(service(rig).apply(vm(5, host, nic(5, l3))))
    await rig.clock.settle()
    connecting = asyncio.ensure_future(connect(rig, host))
    await rig.clock.settle()
    assert len(rig.agents.calls) == 1
    rig.vms[host] = [running(5, host, nic(5, l3))]  # what is claimed counts when the turn has come, not before
    rig.agents.gates[host].set()

    await asyncio.gather(starting, connecting)

    assert rig.agents.take()[-1] == (host, KeepDhcp(macs={l3: [entry(5).mac]}))


async def test_a_host_out_of_reach_does_not_hold_a_vm_up_that_leaves_it(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    rig.agents.refuse[host] = unreachable()
    await service(rig).release(vm(5, host, nic(5, l3)))
    assert list(rig.syncs.failed) == [(host, "flat", "")]


async def test_the_servers_get_another_address_when_theirs_goes_with_its_range(rig: Rig) -> None:
    l3 = await rig.l3(await rig.l2())
    first = await rig.add_range(l3, "10.0.0.2", "10.0.0.9")
    second = await rig.add_range(l3, "10.0.0.20", "10.0.0.29")
    await rig.context.bus.call(DeleteIpRange(uuid=first))
    assert await servers(rig) == {l3: "10.0.0.20"}
    await rig.context.bus.call(DeleteIpRange(uuid=second))
    assert await servers(rig) == {}


async def test_a_vm_without_an_address_is_not_served(rig: Rig) -> None:
    host, l3 = rig.host(1, connected=False), await lan(rig)
    stopped = NicSpec(
        uuid=uuid(7, 6),
        mac="fa:00:00:00:00:07",
        ip="",
        netmask="",
        gateway="",
        l3_network_uuid=L3NetworkId(l3),
        device_id=0,
        internal_name="vnic7.0",
        is_default=True,
    )
    rig.vms[host] = [running(7, host, stopped)]
    await connect(rig, host)
    assert rig.agents.take() == [(host, KeepDhcp(macs={}))]


class Reads:
    """How often the database is asked from here on."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        read, store = rig.context.store.read, rig.context.store

        async def counted(fn: Callable[[Tx], R]) -> R:
            self.number += 1
            return await read(fn)

        monkeypatch.setattr(store, "read", counted)
        monkeypatch.setattr(store, "look", counted)


async def test_many_vms_of_a_network_cost_one_look_at_the_database(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    host, l3 = rig.host(1), await lan(rig)
    reads = Reads(rig, monkeypatch)
    await asyncio.gather(*(service(rig).apply(vm(n, host, nic(n, l3))) for n in range(10, 60)))
    await asyncio.gather(*(service(rig).release(vm(n, host, nic(n, l3))) for n in range(10, 60)))
    assert reads.number == 1
    assert len(rig.agents.take()) == 100


async def test_what_changes_here_is_told_from_the_next_vm_on(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    bus, told = rig.context.bus, []
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: asyncio.sleep(0),
        lambda: bus.call(AddDnsToL3Network(l3_network_uuid=l3, dns="9.9.9.9")),
        lambda: bus.call(UpdateL3Network(uuid=l3, dns_domain="example.com")),
        lambda: bus.call(RemoveDnsFromL3Network(l3_network_uuid=l3, dns="9.9.9.9")),
        lambda: bus.call(
            DetachNetworkServiceFromL3Network(l3_network_uuid=l3, network_services={FLAT: ["Userdata", "DNS"]})
        ),
    ]
    for change in changes:
        await change()
        await service(rig).apply(vm(5, host, nic(5, l3)))
        ((_, call),) = rig.agents.take()
        assert isinstance(call, EnsureDhcp)
        told.append((call.dns, call.domain, len(call.metadata)))
    assert told == [
        ([], None, 1),
        (["9.9.9.9"], None, 1),
        (["9.9.9.9"], "example.com", 1),
        ([], "example.com", 1),
        ([], "example.com", 0),
    ]


async def test_what_changes_on_another_node_is_told_soon(rig: Rig) -> None:
    host, l3 = rig.host(1), await lan(rig)
    domains = []
    for seconds in (0, 1.9, 0.1):
        await rig.clock.advance(seconds)
        await service(rig).apply(vm(5, host, nic(5, l3)))
        await rig.context.store.write(lambda tx: tx.update(L3Network, l3, dns_domain="elsewhere.example"))
        ((_, call),) = rig.agents.take()
        assert isinstance(call, EnsureDhcp)
        domains.append(call.domain)
    assert domains == [None, None, "elsewhere.example"]
