"""VMs that hosts have and the database does not place there."""

from __future__ import annotations

import msgspec

from cairn.agents.protocol.vm import PowerState
from cairn.services.host.model import HostClaim
from cairn.simulator.world import SimVm
from cairn.testing.cloud import Cloud

INTERVAL = 60
STRAY = "5" * 32


def put_stray(cloud: Cloud, host: str = "sim-0001", uuid: str = STRAY) -> SimVm:
    """Have a host run a VM that nobody there knows."""
    mine = next(one.vms[cloud.site["vm"]] for one in cloud.world.hosts.values() if cloud.site["vm"] in one.vms)
    hardware = msgspec.structs.replace(mine.hardware, uuid=uuid)
    domain = SimVm(hardware=hardware, disks=[], nics=[], state=PowerState.RUNNING, vnc_port=5999)
    cloud.world.hosts[host].vms[uuid] = domain
    return domain


def claimed(cloud: Cloud) -> int:
    return cloud.read_now(lambda tx: sum(claim.memory_bytes for claim in tx.find(HostClaim)))


async def test_a_stray_is_listed_once_and_holds_what_it_takes(cloud: Cloud) -> None:
    before = claimed(cloud)
    size = put_stray(cloud).hardware.memory_size
    await cloud.quiet(3 * INTERVAL)
    (row,) = await cloud.query("StrayVm", f"host.uuid={cloud.site['host-1']}")
    assert (row["vmUuid"], row["memorySize"]) == (STRAY, size)
    assert claimed(cloud) == before + size
    assert len(await cloud.query("Event", "name=vm.strange-seen")) == 1


async def test_a_stray_that_goes_or_is_switched_off_gives_back_what_it_held(cloud: Cloud) -> None:
    before = claimed(cloud)
    domain = put_stray(cloud)
    await cloud.quiet(2 * INTERVAL)
    domain.state = PowerState.STOPPED
    await cloud.quiet(2 * INTERVAL)
    assert (await cloud.query("StrayVm"), claimed(cloud)) == ([], before)


async def test_a_vm_that_starts_or_stops_is_never_taken_for_a_stray(cloud: Cloud) -> None:
    await cloud.call("StopVmInstance", uuid=cloud.site["vm"])
    await cloud.quiet(INTERVAL)
    await cloud.call("StartVmInstance", uuid=cloud.site["vm"])
    await cloud.quiet(2 * INTERVAL)
    assert await cloud.query("Event", "name=vm.strange-seen") == []


async def test_what_is_known_of_strays_outlives_the_node(cloud: Cloud) -> None:
    put_stray(cloud)
    await cloud.quiet(2 * INTERVAL)
    held = claimed(cloud)
    await cloud.kill()
    await cloud.revive()
    await cloud.log_in()
    await cloud.quiet(2 * INTERVAL)
    assert len(await cloud.query("StrayVm")) == 1
    assert claimed(cloud) == held
