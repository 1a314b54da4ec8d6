from __future__ import annotations

from cairn.plugins.flat_network.names import LEAST_SECONDS
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


async def test_a_host_that_does_not_take_it_is_told_everything_with_the_next_change() -> None:
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
