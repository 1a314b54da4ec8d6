"""What hosts are told of their guests' taps when they connect."""

from __future__ import annotations

import msgspec

from cairn.agents.protocol.vm import PowerState
from cairn.simulator.dials import Dial
from cairn.simulator.world import SimHost
from cairn.testing.cloud import Cloud


def host_of(cloud: Cloud) -> SimHost:
    return next(host for host in cloud.world.hosts.values() if cloud.site["vm"] in host.vms)


async def address(cloud: Cloud) -> str:
    (row,) = await cloud.query("VmNic", f"vmInstanceUuid={cloud.site['vm']}")
    return str(row["ip"])


async def test_a_guest_is_bound_to_its_address_from_its_start(cloud: Cloud) -> None:
    (nic,) = host_of(cloud).vms[cloud.site["vm"]].nics
    assert nic.addresses == [await address(cloud)]


async def test_a_host_that_connects_is_told_again_what_its_guests_may_send(cloud: Cloud) -> None:
    domain = host_of(cloud).vms[cloud.site["vm"]]
    domain.nics = [msgspec.structs.replace(nic, addresses=[]) for nic in domain.nics]  # an earlier agent started it
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    assert [nic.addresses for nic in domain.nics] == [[await address(cloud)]]


async def test_a_host_that_cannot_filter_is_connected_all_the_same(cloud: Cloud) -> None:
    cloud.agents.dials.turn(Dial(host=host_of(cloud).name, command="vm.filter-taps", error_rate=1.0))
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    (row,) = await cloud.query("Host", f"uuid={cloud.site['host-1']}")
    assert row["status"] == "Connected"
    assert host_of(cloud).vms[cloud.site["vm"]].state is PowerState.RUNNING
