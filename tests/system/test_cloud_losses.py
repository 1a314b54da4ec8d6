"""Hosts that lose their power or their cable, and a management node that is killed: what is said of it is true."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import Struct
from tests.system.api import Inventory, Refused, eventually
from tests.system.conftest import PING_SECONDS
from tests.system.site import Cloud, Site

pytestmark = pytest.mark.lab

VMS = 10
#: Pings that fail, with their pauses, then the reconnecting with its pauses and Ansible.
LOST_SECONDS = 40
BACK_SECONDS = 120


class Pair(Struct, frozen=True):
    """A VM on each host."""

    first: Inventory
    second: Inventory


@pytest.fixture(scope="module")
def pair(site: Site, cloud: Cloud) -> Iterator[Pair]:
    site.api.configure("host", "ping.interval", PING_SECONDS)
    first = site.create_vm(cloud, "stays", hostUuid=cloud.hosts["host1"])
    second = site.create_vm(cloud, "goes", hostUuid=cloud.hosts["host2"])
    for vm in (first, second):
        site.booted(vm["uuid"])
    yield Pair(first, second)
    site.remove_vms()


def test_vms_of_a_host_that_is_cut_off_are_unknown_and_run_on(site: Site, cloud: Cloud, pair: Pair) -> None:
    host, vm = cloud.hosts["host2"], pair.second["uuid"]

    site.lab.cut("host2")
    try:
        eventually(lambda: site.host_status(host) == "Disconnected", "it is lost", seconds=LOST_SECONDS)
        eventually(lambda: site.state(vm) == "Unknown", "its VM is Unknown")
        assert site.api.one(f"/hosts/{host}")["statusReason"]
        assert site.reaches(cloud, pair.second), "the guest does not know of it"
        assert site.state(pair.first["uuid"]) == "Running"
        with pytest.raises(Refused) as caught:
            site.create_vm(cloud, "nowhere", hostUuid=host)
        assert "host2 is Disconnected" in caught.value.told
    finally:
        site.lab.mend("host2")

    eventually(lambda: site.host_status(host) == "Connected", "it is back", seconds=BACK_SECONDS)
    eventually(lambda: site.state(vm) == "Running", "its VM is Running")
    assert "boots:     2" not in site.api.console(vm)
    assert site.guest_reaches(cloud, pair.first, pair.second), "the network is whole again"


def test_host_that_lost_its_power_comes_back_and_its_vms_are_stopped(site: Site, cloud: Cloud, pair: Pair) -> None:
    host, vm = cloud.hosts["host2"], pair.second["uuid"]

    site.lab.kill("host2")
    try:
        eventually(lambda: site.host_status(host) == "Disconnected", "it is lost", seconds=LOST_SECONDS)
        eventually(lambda: site.state(vm) == "Unknown", "its VM is Unknown")
    finally:
        site.lab.mend("host2")

    eventually(lambda: site.host_status(host) == "Connected", "it is back", seconds=BACK_SECONDS)
    eventually(lambda: site.state(vm) == "Stopped", "its VM is Stopped")
    free = site.api.one(f"/hosts/{host}")
    assert free["availableMemoryCapacity"] == free["totalMemoryCapacity"]
    assert site.api.act(f"/vm-instances/{vm}", "startVmInstance")["state"] == "Running"
    assert "boots:     2\n" in site.booted(vm, times=2)
    assert site.guest_reaches(cloud, pair.first, pair.second), "over the network that was made again"


def test_killed_agent_is_back_soon_and_its_vms_did_not_notice(site: Site, cloud: Cloud, pair: Pair) -> None:
    host = cloud.hosts["host1"]
    before = site.api.one(f"/hosts/{host}")["agentBoot"]

    site.on.run("host1", "pkill", "-KILL", "-f", "cairn-agent serve --role kvm")

    eventually(
        lambda: site.api.one(f"/hosts/{host}")["agentBoot"] != before and site.host_status(host) == "Connected",
        "the agent is connected again",
        seconds=BACK_SECONDS,
    )
    assert site.state(pair.first["uuid"]) == "Running"
    assert site.guest_reaches(cloud, pair.first, pair.second)


def test_node_that_was_stopped_learns_at_its_start_what_it_missed(site: Site, cloud: Cloud, pair: Pair) -> None:
    assert site.node.stop() == 0
    site.kill_qemu("host1", pair.first["uuid"])

    site.node.start()

    eventually(lambda: site.state(pair.first["uuid"]) == "Stopped", "the VM is Stopped", seconds=15)
    assert site.state(pair.second["uuid"]) == "Running"
    assert {site.host_status(host) for host in cloud.hosts.values()} == {"Connected"}


def test_node_killed_twice_amid_creations_leaves_whole_vms_or_none(site: Site, cloud: Cloud) -> None:
    site.remove_vms()
    before = {name: site.on.traces(name) for name in cloud.hosts}
    jobs = {
        name: site.api.submit("POST", "/vm-instances", {"params": site.vm_params(cloud, name)})
        for name in (f"crash-{number}" for number in range(VMS))
    }

    site.node.kill()
    site.node.start()
    eventually(lambda: any(site.on.traces(name).domains for name in cloud.hosts), "one VM is there")
    site.node.kill()
    site.node.start()

    ended = {name: _end(site, job) for name, job in jobs.items()}
    vms = {vm["name"]: vm for vm in site.api.query("/vm-instances")}
    assert {name for name, job in ended.items() if job["state"] == "Succeeded"} == set(vms)
    for vm in vms.values():
        assert vm["state"] == "Running"
        site.booted(vm["uuid"])
        assert site.reaches(cloud, vm)
    for name in cloud.hosts:
        here = [vm for vm in vms.values() if site.host_of(cloud, vm) == name]
        assert sorted(site.on.traces(name).domains) == sorted(vm["uuid"] for vm in here)
        assert len(site.on.traces(name).disks) == len(here)
    site.remove_vms()
    assert {name: site.on.traces(name) for name in cloud.hosts} == before
    assert site.api.query("/volumes") == []
    assert all(host["availableMemoryCapacity"] == host["totalMemoryCapacity"] for host in site.api.query("/hosts"))


def _end(site: Site, job: str) -> Inventory:
    """The job, once it has ended."""
    found = site.api.job(job, wait_seconds=60)
    assert found["state"] in ("Succeeded", "Failed"), found
    return found
