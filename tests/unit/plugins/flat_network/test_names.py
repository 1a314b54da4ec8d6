from __future__ import annotations

import pytest

from cairn.plugins.flat_network import names
from cairn.plugins.flat_network.names import LEAST_SECONDS
from cairn.simulator import commands
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud


def told(cloud: Cloud, host: str) -> list[str]:
    """The names that a host's server answers beside those of its own entries."""
    (server,) = cloud.world.hosts[host].dhcp.values()
    own = {entry.ip for entry in server.entries.values()}
    return sorted(name for ip, name in server.names.items() if ip not in own)


async def test_each_host_knows_the_vms_of_its_networks_on_other_hosts_after_a_moment() -> None:
    async with Cloud.open(hosts=3) as cloud:
        site = await cloud.make_site()
        here = await cloud.create_vm("here", host_uuid=site["host-1"])
        there = await cloud.create_vm("there", host_uuid=site["host-2"])
        await cloud.quiet(2 * LEAST_SECONDS)
        assert (told(cloud, "sim-0001"), told(cloud, "sim-0002")) == (["there"], ["here"])
        assert cloud.world.hosts["sim-0003"].dhcp == {}  # it has nobody who could ask

        await cloud.create_vm("new", host_uuid=site["host-2"])
        await cloud.call("StopVmInstance", uuid=there["uuid"])
        await cloud.quiet(2 * LEAST_SECONDS)
        assert told(cloud, "sim-0001") == ["new"]

        await cloud.call("StopVmInstance", uuid=here["uuid"])
        await cloud.call("StartVmInstance", uuid=here["uuid"])
        await cloud.quiet(2 * LEAST_SECONDS)
        assert told(cloud, "sim-0001") == ["new"]  # its server was gone meanwhile, and with it what it had been told


async def test_a_host_that_does_not_take_it_is_told_with_the_next_change() -> None:
    async with Cloud.open(hosts=2) as cloud:
        site = await cloud.make_site()
        for key in ("host-1", "host-2"):
            await cloud.create_vm(f"vm-{key}", host_uuid=site[key])
        await cloud.quiet(2 * LEAST_SECONDS)
        cloud.agents.dials.turn(Dial(host="sim-0001", command="flat.set-names", error_rate=1.0))
        await cloud.create_vm("second", host_uuid=site["host-2"])
        await cloud.quiet(2 * LEAST_SECONDS)
        assert told(cloud, "sim-0001") == ["vm-host-2"]
        cloud.agents.dials.turn(Dial(host="sim-0001", command="flat.set-names"))
        await cloud.create_vm("third", host_uuid=site["host-2"])
        await cloud.quiet(2 * LEAST_SECONDS)
        assert told(cloud, "sim-0001") == ["second", "third", "vm-host-2"]


async def spread(cloud: Cloud) -> None:
    """VMs on both hosts, half of them with names that hosts write in another way."""
    for number in range(6):
        tags = [f"hostname::web-{number}.example.org"] if number % 2 else []
        await cloud.create_vm(f"vm-{number}", host_uuid=cloud.site[f"host-{number % 2 + 1}"], system_tags=tags)
    await cloud.quiet(2 * LEAST_SECONDS)


async def test_a_node_that_starts_tells_hosts_what_differs_and_no_more() -> None:
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        await spread(cloud)
        hosts = [cloud.world.hosts[name] for name in ("sim-0001", "sim-0002")]
        before = [host.names_told for host in hosts]
        assert min(before) > 0

        await cloud.revive()
        await cloud.log_in()
        await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
        await cloud.quiet(3 * LEAST_SECONDS)
        assert [host.names_told for host in hosts] == before

        (server,) = hosts[1].dhcp.values()
        lost = next(ip for ip, name in server.names.items() if name == "vm-0")
        server.names["10.89.9.9"] = server.names.pop(lost)
        await cloud.create_vm("last", host_uuid=cloud.site["host-1"])
        await cloud.call("ReconnectHost", uuid=cloud.site["host-2"])
        await cloud.quiet(3 * LEAST_SECONDS)
        assert told(cloud, "sim-0002") == ["last", "vm-0", "vm-2", "vm-4"]


async def test_a_host_whose_agent_cannot_compare_is_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(commands.COMMANDS, "flat.compare-names")
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        await spread(cloud)
        cloud.world.hosts["sim-0001"].dhcp[cloud.site["l3"]].names = {"10.89.9.9": "stale"}
        await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
        await cloud.quiet(3 * LEAST_SECONDS)
        assert told(cloud, "sim-0001") == [f"web-{number}.example.org" for number in (1, 3, 5)]


async def test_a_host_that_had_no_server_when_it_was_told_is_told_once_it_has_one() -> None:
    async with Cloud.open(hosts=2) as cloud:
        site = await cloud.make_site()
        await cloud.create_vm("first", host_uuid=site["host-1"])
        cloud.agents.dials.turn(Dial(host="sim-0002", command="flat.ensure-dhcp", delay_seconds=5 * LEAST_SECONDS))
        _, late = await cloud.send("CreateVmInstance", **cloud.vm_fields("late", host_uuid=site["host-2"]))
        await cloud.quiet(LEAST_SECONDS)
        await cloud.create_vm("second", host_uuid=site["host-1"])
        await cloud.quiet(3 * LEAST_SECONDS)
        assert cloud.world.hosts["sim-0002"].dhcp == {}

        await cloud.finish(str(late["uuid"]))
        await cloud.quiet(3 * LEAST_SECONDS)
        assert (told(cloud, "sim-0001"), told(cloud, "sim-0002")) == (["late"], ["first", "second"])


async def test_the_more_names_a_network_has_the_longer_is_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SECONDS_PER_NAME", 10.0)
    async with Cloud.open(hosts=2) as cloud:
        site = await cloud.make_site()
        for number in (1, 2):
            await cloud.create_vm(f"vm-{number}", host_uuid=site[f"host-{number}"])
        await cloud.quiet(2 * LEAST_SECONDS)
        await cloud.create_vm("vm-3", host_uuid=site["host-2"])
        await cloud.quiet(2 * LEAST_SECONDS)
        assert told(cloud, "sim-0001") == ["vm-2"]

        await cloud.quiet(2 * 10.0)
        assert told(cloud, "sim-0001") == ["vm-2", "vm-3"]
