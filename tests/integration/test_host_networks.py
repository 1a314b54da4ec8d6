"""A host serves the networks of exactly those VMs that have a place on it, whatever happens at the same time."""

from __future__ import annotations

import pytest

from cairn.services.vm.model import VmInstance
from cairn.simulator.dials import Dial
from cairn.simulator.world import host_name
from cairn.testing.cloud import Cloud, Json, Refused, address
from cairn.testing.mortal import ORIGIN

HOST = "sim-0001"


def served(cloud: Cloud, name: str = HOST) -> set[str]:
    """The VMs that a host gives addresses to."""
    return {entry.vm for server in cloud.world.hosts[name].dhcp.values() for entry in server.entries.values()}


def told(cloud: Cloud, name: str = HOST) -> set[str]:
    """The VMs that a host has metadata for."""
    return {one.vm for known in cloud.world.hosts[name].metadata.values() for one in known.values()}


async def ended(cloud: Cloud, *jobs: Json) -> list[object]:
    return [(await cloud.request("GET", f"/v1/api-jobs/{job['uuid']}"))[1]["state"] for job in jobs]


@pytest.mark.parametrize("command", ["vm.start", "flat.ensure-dhcp"])
async def test_a_reconnect_while_a_vm_starts_leaves_it_served(command: str) -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        vm = await cloud.create_vm("web")
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        cloud.agents.dials.turn(Dial(host=HOST, command=command, delay_seconds=20))
        _, start = await cloud.send("StartVmInstance", uuid=vm["uuid"])
        await cloud.quiet(2)
        _, reconnect = await cloud.send("ReconnectHost", uuid=site["host-1"])
        await cloud.quiet(100)
        assert await ended(cloud, start, reconnect) == ["Succeeded", "Succeeded"]
        assert served(cloud) == told(cloud) == {vm["uuid"]}


async def test_a_reconnect_while_a_vm_stops_leaves_nothing_of_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        vm = await cloud.create_vm("web")
        cloud.agents.dials.turn(Dial(host=HOST, command="flat.remove-dhcp-entries", delay_seconds=20))
        _, stop = await cloud.send("StopVmInstance", uuid=vm["uuid"])
        await cloud.quiet(2)
        _, reconnect = await cloud.send("ReconnectHost", uuid=site["host-1"])
        await cloud.quiet(100)
        assert await ended(cloud, stop, reconnect) == ["Succeeded", "Succeeded"]
        assert served(cloud) == told(cloud) == set()


async def test_a_reconnect_while_a_start_fails_leaves_nothing_of_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        vm = await cloud.create_vm("web")
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        cloud.agents.dials.turn(Dial(host=HOST, command="vm.start", error_next=1))
        cloud.agents.dials.turn(Dial(host=HOST, command="flat.remove-dhcp-entries", delay_seconds=20))
        _, start = await cloud.send("StartVmInstance", uuid=vm["uuid"])
        await cloud.quiet(2)
        await cloud.send("ReconnectHost", uuid=site["host-1"])
        await cloud.quiet(100)
        assert await ended(cloud, start) == ["Failed"]
        assert served(cloud) == told(cloud) == set()


async def test_a_reconnect_while_a_vm_is_created_stopped_does_not_serve_it() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        cloud.agents.dials.turn(Dial(host=HOST, command="volume.create", delay_seconds=20))
        _, create = await cloud.send("CreateVmInstance", **cloud.vm_fields("off", strategy="CreateStopped"))
        await cloud.quiet(2)
        await cloud.call("ReconnectHost", uuid=site["host-1"])
        await cloud.quiet(100)
        assert await ended(cloud, create) == ["Succeeded"]
        assert served(cloud) == told(cloud) == set()


async def test_a_guest_that_powers_itself_off_is_not_served_any_more() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        vm = await cloud.create_vm("web", system_tags=["userdata::c2VjcmV0"])
        host = cloud.world.hosts[HOST]
        host.power_off(str(vm["uuid"]))
        del host.vms[str(vm["uuid"])]
        await cloud.quiet(200)
        (row,) = cloud.read_now(lambda tx: tx.find(VmInstance))
        assert row.state.value == "Stopped"
        assert served(cloud) == told(cloud) == set()


async def test_a_network_in_trouble_is_seen_tried_again_and_does_not_keep_its_host() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        for command in ("network.ensure-vxlan", "network.change-vxlan-peers"):
            cloud.agents.dials.turn(Dial(host=HOST, command=command, error_rate=1.0))
        await cloud.call("ReconnectHost", uuid=site["host-1"])
        (host,) = await cloud.query("Host")
        (fault,) = await cloud.query("HostFault")
        assert (host["status"], fault["hostUuid"], fault["kind"], fault["subject"]) == (
            "Connected",
            site["host-1"],
            "l2",
            site["l2"],
        )
        with pytest.raises(Refused, match="could not be given the L2 network"):
            await cloud.create_vm("web")
        cloud.agents.dials.clear()
        await cloud.quiet(130)
        assert await cloud.query("HostFault") == []
        await cloud.create_vm("web")


async def test_trouble_is_remembered_over_a_restart_of_the_node() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        for command in ("network.ensure-vxlan", "network.change-vxlan-peers"):
            cloud.agents.dials.turn(Dial(host=HOST, command=command, error_rate=1.0))
        await cloud.call("ReconnectHost", uuid=site["host-1"])
        await cloud.revive()
        cloud.agents.dials.clear()
        await cloud.quiet(130)
        assert await cloud.query("HostFault") == []


async def test_a_network_for_the_clouds_own_use_takes_no_vms() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        await cloud.call("UpdateL3Network", uuid=site["l3"], system=True)
        with pytest.raises(Refused) as caught:
            await cloud.create_vm("web")
        assert caught.value.code == "l3.system"
        await cloud.call("UpdateL3Network", uuid=site["l3"], system=False)
        await cloud.create_vm("web")


async def test_a_vm_has_the_address_that_its_tag_names_from_its_next_start_on() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        vm = await cloud.create_vm("web")
        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        tag = await cloud.call(
            "CreateSystemTag",
            resource_type="VmInstance",
            resource_uuid=vm["uuid"],
            tag=f"staticIp::{site['l3']}::10.89.0.77",
        )
        await cloud.call("StartVmInstance", uuid=vm["uuid"])
        (nic,) = await cloud.query("VmNic", f"vmInstanceUuid={vm['uuid']}")
        (server,) = cloud.world.hosts[HOST].dhcp.values()
        assert [entry.ip for entry in server.entries.values()] == [nic["ip"]] == ["10.89.0.77"]
        used = await cloud.query("UsedIp", f"usedFor={vm['uuid']}")
        assert [one["ip"] for one in used] == ["10.89.0.77"]

        await cloud.call("StopVmInstance", uuid=vm["uuid"])
        await cloud.call("DeleteTag", uuid=tag["uuid"])
        other = await cloud.create_vm("other", system_tags=[f"staticIp::{site['l3']}::10.89.0.78"])
        await cloud.call(
            "CreateSystemTag",
            resource_type="VmInstance",
            resource_uuid=vm["uuid"],
            tag=f"staticIp::{site['l3']}::10.89.0.78",
        )
        with pytest.raises(Refused) as caught:
            await cloud.call("StartVmInstance", uuid=vm["uuid"])
        assert caught.value.code == "l3.address-taken"
        assert served(cloud) == {other["uuid"]}


async def test_an_address_in_a_network_without_a_card_is_refused() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        with pytest.raises(Refused) as caught:
            await cloud.create_vm("web", system_tags=[f"staticIp::{'f' * 32}::10.89.0.77"])
        assert caught.value.code == "l3.static-ip-without-card"


async def test_running_vms_are_served_from_the_address_that_the_servers_have_now() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = await cloud.make_site()
        (first,) = await cloud.query("IpRange")
        fields = {"start_ip": "10.89.2.10", "end_ip": "10.89.2.20"}
        await cloud.call("DeleteIpRange", uuid=first["uuid"])
        for number in (1, 2):
            await cloud.call(
                "AddIpRange",
                l3_network_uuid=site["l3"],
                name=f"range-{number}",
                netmask="255.255.0.0",
                gateway="10.89.0.1",
                **{key: value.replace("10.89.2", f"10.89.{number}") for key, value in fields.items()},
            )
        vm = await cloud.create_vm("web", system_tags=[f"staticIp::{site['l3']}::10.89.2.15"])
        (server,) = cloud.world.hosts[HOST].dhcp.values()
        assert server.dhcp_ip == "10.89.1.10"
        (lower,) = await cloud.query("IpRange", "name=range-1")
        await cloud.call("DeleteIpRange", uuid=lower["uuid"])
        await cloud.quiet(1)
        (server,) = cloud.world.hosts[HOST].dhcp.values()
        assert server.dhcp_ip == "10.89.2.10"
        assert served(cloud) == {vm["uuid"]}


async def told_when_a_host_joins(hosts: int) -> tuple[int, list[int]]:
    """How many addresses of tunnels' ends a host that joins others is told, and each of these."""
    async with Cloud.open(hosts=hosts + 1) as cloud:
        await cloud.make_site(hosts=hosts)
        here = [cloud.world.hosts[host_name(number)] for number in range(1, hosts + 1)]
        before = [host.peers_told for host in here]
        name = host_name(hosts + 1)
        where = {"management_ip": address(hosts + 1), "url": f"{ORIGIN}/hosts/{name}"}
        await cloud.call("AddSimulatorHost", name=name, cluster_uuid=cloud.site["cluster"], **where)
        await cloud.quiet(5)
        new = cloud.world.hosts[name]
        assert {len(host.bridges["br_vx_1001"].peers) for host in [*here, new]} == {hosts}
        return new.peers_told, [host.peers_told - was for host, was in zip(here, before, strict=True)]


@pytest.mark.parametrize("hosts", [2, 12])
async def test_a_host_that_joins_is_one_address_more_for_each_of_the_others(hosts: int) -> None:
    assert await told_when_a_host_joins(hosts) == (hosts, [1] * hosts)
