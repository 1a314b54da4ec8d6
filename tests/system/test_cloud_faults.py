"""What is wrong or used up: the job fails with a sentence, and everything is undone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from tests.system.api import Inventory, Refused, eventually
from tests.system.site import BACKUP, Cloud, Site

pytestmark = pytest.mark.lab

FULL = "/var/lib/small-disk"


@pytest.mark.parametrize(
    ("file", "format", "codes", "told"),
    [
        ("none.qcow2", "qcow2", {"agent.download-failed"}, "404"),
        ("page.qcow2", "qcow2", {"agent.not-an-image", "agent.wrong-format"}, "qcow2"),
        ("backing.qcow2", "qcow2", {"agent.backing-file"}, "backing file"),
        ("cut.qcow2", "qcow2", {"agent.not-an-image"}, "qemu-img"),
        ("disk.raw", "qcow2", {"agent.wrong-format", "agent.not-an-image"}, "qcow2"),
        ("guest.qcow2", "raw", {"agent.wrong-format"}, "raw"),
    ],
)
def test_image_that_cannot_be_used_is_refused(
    site: Site, cloud: Cloud, bad_images: None, file: str, format: str, codes: set[str], told: str
) -> None:
    before = _files(site)

    with pytest.raises(Refused) as caught:
        site.add_image(cloud, file, name="bad", format=format)

    assert codes & set(caught.value.codes), caught.value
    assert told in caught.value.told
    assert site.api.query("/images", "name=bad") == []
    assert _files(site) == before


def _files(site: Site) -> list[str]:
    """What is in the backup server's folder."""
    return sorted(site.on.run("host1", "find", BACKUP, "-type", "f").split())


def _refused(site: Site, cloud: Cloud, **params: Any) -> Refused:
    """Creating this VM fails, and nothing of it stays anywhere."""
    hosts = {name: site.on.traces(name) for name in cloud.hosts}
    books = _books(site)
    with pytest.raises(Refused) as caught:
        site.create_vm(cloud, "nothing", **params)
    assert site.api.query("/vm-instances", "name=nothing") == []
    assert {name: site.on.traces(name) for name in cloud.hosts} == hosts
    assert _books(site) == books
    return caught.value


def _books(site: Site) -> dict[str, list[Inventory]]:
    """What is given out of hosts and storage, and what volumes and addresses there are."""
    fields = {
        "/hosts": "uuid,availableMemoryCapacity,availableCpuCapacity",
        "/primary-storage/local-storage/hosts": "uuid,bookedCapacity",
        "/volumes": "uuid",
        "/l3-networks/ip-ranges": "uuid",
    }
    return {path: site.api.query(path, sort="+uuid", fields=names) for path, names in fields.items()}


def test_vm_that_no_host_can_take_is_told_each_hosts_reason(site: Site, cloud: Cloud) -> None:
    error = _refused(site, cloud, memorySize=1 << 40)

    assert error.codes[0] == "host.none-fits"
    for name in cloud.hosts:
        assert name not in error.problem["detail"]
        assert f"{name} has " in error.told
    assert "MiB of memory free" in error.told


def test_vm_in_a_network_without_free_addresses_is_refused(site: Site, cloud: Cloud) -> None:
    network = site.make_network(cloud.zone, cloud.cluster, "tiny", "10.21.0.10", "10.21.0.11")
    taken = site.create_vm(cloud, "taken", l3NetworkUuids=[network.l3], strategy="CreateStopped")

    error = _refused(site, cloud, l3NetworkUuids=[network.l3])

    assert error.codes[0] == "l3.no-free-address"
    assert "tiny" in error.told
    site.expunge(taken["uuid"])
    assert _created_and_gone(site, cloud, l3NetworkUuids=[network.l3], strategy="CreateStopped")
    site.api.delete(f"/l3-networks/{network.l3}")
    site.api.delete(f"/l2-networks/{network.l2}")


def _created_and_gone(site: Site, cloud: Cloud, **params: Any) -> bool:
    vm = site.create_vm(cloud, "now it fits", **params)
    site.expunge(vm["uuid"])
    return True


@pytest.fixture
def small_disk(site: Site, cloud: Cloud) -> Iterator[str]:
    """A primary storage on a small disk of host1, all of which may be given out."""
    site.api.configure("localStorage", "reserved", 0)
    site.on.run("host1", "mkdir", "-p", FULL)
    site.on.run("host1", "mount", "-t", "tmpfs", "-o", "size=64M", "small", FULL)
    storage = site.api.create("/primary-storage/local-storage", name="small", zoneUuid=cloud.zone, url=FULL)["uuid"]
    site.api.call("POST", f"/clusters/{cloud.cluster}/primary-storage/{storage}", {})
    yield storage
    site.api.delete(f"/clusters/{cloud.cluster}/primary-storage/{storage}")
    site.api.delete(f"/primary-storage/{storage}")
    site.on.run("host1", "umount", FULL)
    site.api.configure("localStorage", "reserved", 1 << 30)


def _share(site: Site, storage: str) -> Inventory:
    """What the cloud knows of host1's small disk."""
    return next(
        share
        for share in site.api.query("/primary-storage/local-storage/hosts", f"primaryStorageUuid={storage}")
        if share["totalPhysicalCapacity"] < 1 << 30
    )


def test_full_disk_of_a_host_fails_the_vm_and_a_free_one_takes_it(site: Site, cloud: Cloud, small_disk: str) -> None:
    params = {"primaryStorageUuidForRootVolume": small_disk, "hostUuid": cloud.hosts["host1"]}
    site.on.run("host1", "sh", "-c", f"dd if=/dev/zero of={FULL}/filler bs=1M 2>/dev/null || true")

    error = _refused(site, cloud, **params)

    assert {"agent.no-space", "host.none-fits"} & set(error.codes), "the disk says it, or the ping that came before"
    eventually(lambda: _share(site, small_disk)["level"] == "Full", "the ping tells that the disk is full", seconds=90)
    assert "0 MiB of local storage free" in _refused(site, cloud, **params).told
    assert site.on.run("host1", "find", FULL, "-type", "f", "-not", "-name", "filler", "-size", "+0") == ""
    site.on.run("host1", "rm", f"{FULL}/filler")
    eventually(lambda: _share(site, small_disk)["level"] == "Ok", "the ping tells that there is room", seconds=90)
    assert _created_and_gone(site, cloud, **params, strategy="CreateStopped")


def test_guest_that_fills_the_disk_is_paused_and_goes_on_when_there_is_room(
    site: Site, cloud: Cloud, small_disk: str
) -> None:
    site.api.configure("localStorage", "overProvisioning.ratio", 10)
    script = "#!/bin/sh\ndd if=/dev/zero of=/dev/vda bs=1M seek=40 count=120 conv=fsync\n"
    tag = f"userdata::{base64.b64encode(script.encode()).decode()}"
    params = {"primaryStorageUuidForRootVolume": small_disk, "hostUuid": cloud.hosts["host1"]}
    vm = site.create_vm(cloud, "writer", tags=[tag], rootDiskSize=200 << 20, **params)["uuid"]

    eventually(lambda: site.state(vm) == "Paused", "the guest is paused", seconds=120)
    assert "disk is full" in site.vm(vm)["stateReason"]
    site.on.run("host1", "mount", "-o", "remount,size=600M", FULL)
    eventually(lambda: site.state(vm) == "Running", "the guest goes on", seconds=60)

    site.expunge(vm)
    site.api.configure("localStorage", "overProvisioning.ratio", 1)
