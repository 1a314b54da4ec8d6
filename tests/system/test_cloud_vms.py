"""VMs on real hosts: from image to a guest that answers, and away again without a trace."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from msgspec import Struct
from tests.system.api import Inventory, eventually
from tests.system.site import Cloud, Site

pytestmark = pytest.mark.lab


class Pair(Struct, frozen=True):
    """A VM on each host, in the same network."""

    first: Inventory
    second: Inventory


def _script(address: str) -> str:
    """User data that reaches another VM of the network, as a system tag."""
    text = f"""#!/bin/sh
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    ping -c1 -W1 {address} >/dev/null && break
done
ping -c2 -W2 {address}
wget -q -O- http://{address}/
"""
    return f"userdata::{base64.b64encode(text.encode()).decode()}"


@pytest.fixture(scope="module")
def pair(site: Site, cloud: Cloud) -> Iterator[Pair]:
    first = site.create_vm(cloud, "Web 1", hostUuid=cloud.hosts["host1"])
    tags = ["hostname::db-7", _script(first["vmNics"][0]["ip"])]
    second = site.create_vm(cloud, "second", hostUuid=cloud.hosts["host2"], tags=tags)
    yield Pair(first, second)
    site.remove_vms()


def test_guests_boot_and_know_who_they_are(site: Site, cloud: Cloud, pair: Pair) -> None:
    for vm, host_name in ((pair.first, "web-1"), (pair.second, "db-7")):
        shown = site.booted(vm["uuid"])
        ip = vm["vmNics"][0]["ip"]
        assert f"host name: {host_name}\n" in shown
        assert f"address:   {ip}\n" in shown
        assert site.state(vm["uuid"]) == "Running"
        assert site.fetch(cloud, vm) == f"{host_name} {ip}\n\n"
    assert site.host_of(cloud, pair.first) == "host1"
    assert site.host_of(cloud, pair.second) == "host2"


def test_guests_on_two_hosts_reach_each_other(site: Site, cloud: Cloud, pair: Pair) -> None:
    first = pair.first["vmNics"][0]["ip"]
    done = "cairn guest: user data ended with 0"
    shown = eventually(
        lambda: text if done in (text := site.api.console(pair.second["uuid"])) else "",
        "the second guest's user data has run",
    )
    assert "2 packets transmitted, 2 packets received" in shown
    assert f"web-1 {first}\n" in shown
    assert site.reaches(cloud, pair.first)
    assert site.reaches(cloud, pair.second)


def test_vm_stops_starts_reboots_and_keeps_address_and_disk(site: Site, cloud: Cloud, pair: Pair) -> None:
    vm = pair.second["uuid"]
    path = f"/vm-instances/{vm}"

    stopped = site.api.act(path, "stopVmInstance")
    assert (stopped["state"], stopped["hostUuid"]) == ("Stopped", None)
    assert "cairn guest: db-7 goes down" in site.console_file("host2", vm)
    traces = site.on.traces("host2")
    assert not any(vm in name for name in (*traces.domains, *traces.metadata))
    assert not set(traces.taps) & {pair.second["vmNics"][0]["internalName"]}
    assert pair.second["vmNics"][0]["mac"] not in traces.leases

    started = site.api.act(path, "startVmInstance")
    assert started["state"] == "Running"
    assert started["vmNics"][0]["ip"] == pair.second["vmNics"][0]["ip"]
    assert "boots:     2\n" in site.booted(vm, times=2)

    assert site.api.act(path, "rebootVmInstance")["state"] == "Running"
    assert "boots:     3\n" in site.booted(vm, times=3)
    assert site.reaches(cloud, pair.second)


def test_expunged_vm_leaves_nothing_on_its_host(site: Site, cloud: Cloud, pair: Pair) -> None:
    vm = pair.second["uuid"]
    path = f"/vm-instances/{vm}"
    assert len(site.on.traces("host2").of(pair.second)) >= 6

    site.api.delete(path)
    assert site.state(vm) == "Destroyed"
    traces = site.on.traces("host2")
    disk = pair.second["allVolumes"][0]["installPath"]
    assert traces.of(pair.second) == [disk]
    assert traces.namespaces == [], "it was the last VM of its network on this host"

    site.api.act(path, "expungeVmInstance")
    assert site.on.traces("host2").of(pair.second) == []
    assert not site.on.succeeds("host2", "test", "-e", disk.rsplit("/", 1)[0])
    assert site.api.query("/vm-instances", f"uuid={vm}") == []
    assert site.api.query("/volumes", f"vmInstanceUuid={vm}") == []
    assert site.reaches(cloud, pair.first), "the other host's VM is not bothered"


def crashes(site: Site, vm: str) -> int:
    """How many crashes of the VM were told."""
    return len(site.api.query("/event-log", "name=vm.crashed", f"resourceUuid={vm}"))


def test_killed_qemu_is_seen_at_once(site: Site, cloud: Cloud, pair: Pair) -> None:
    vm = pair.first["uuid"]
    site.api.configure("host", "ping.interval", 60)
    before = crashes(site, vm)

    site.kill_qemu("host1", vm)

    eventually(lambda: site.state(vm) == "Stopped", "the VM is Stopped", seconds=10)
    assert crashes(site, vm) == before + 1
    last = site.api.query("/event-log", "name=vm.state-changed", f"resourceUuid={vm}", sort="-sequence", limit=1)[0]
    assert (last["content"]["before"], last["content"]["state"]) == ("Running", "Stopped")
    assert last["content"]["reason"]
    site.api.act(f"/vm-instances/{vm}", "startVmInstance")


def test_killed_qemu_is_seen_by_the_ping_when_the_report_is_lost(site: Site, cloud: Cloud, pair: Pair) -> None:
    vm = pair.first["uuid"]
    site.api.configure("host", "ping.interval", 60)
    before = crashes(site, vm)
    with site.deaf_to("host1"):
        site.kill_qemu("host1", vm)
        with pytest.raises(AssertionError, match="not within"):
            eventually(lambda: site.state(vm) == "Stopped", "the VM is Stopped", seconds=4)

        site.api.configure("host", "ping.interval", 2)

        eventually(lambda: site.state(vm) == "Stopped", "the VM is Stopped", seconds=15)
    assert crashes(site, vm) == before + 1
    started = site.api.act(f"/vm-instances/{vm}", "startVmInstance")
    assert started["state"] == "Running"
