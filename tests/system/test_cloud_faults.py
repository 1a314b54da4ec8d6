"""What is wrong or used up: the job fails with a sentence, and everything is undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.system.api import Inventory, Refused
from tests.system.site import BACKUP, Cloud, Site

pytestmark = pytest.mark.lab

FULL = "/var/lib/small-disk"


@pytest.mark.parametrize(
    ("file", "format", "codes", "told"),
    [
        ("none.qcow2", "qcow2", {"agent.download-failed"}, "404"),
        ("page.qcow2", "qcow2", {"agent.not-an-image", "agent.wrong-format"}, "qcow2"),
        ("backing.qcow2", "qcow2", {"agent.backing-file"}, "backing file"),
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
        "/primary-storage": "uuid,availableCapacity",
        "/primary-storage/local-storage/hosts": "uuid,availableCapacity",
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
def full_disk(site: Site, cloud: Cloud) -> Iterator[str]:
    """A primary storage whose folder is full on host1, which the cloud does not know."""
    site.on.run("host1", "mkdir", "-p", FULL)
    site.on.run("host1", "mount", "-t", "tmpfs", "-o", "size=64M", "small", FULL)
    storage = site.api.create("/primary-storage/local-storage", name="small", zoneUuid=cloud.zone, url=FULL)["uuid"]
    site.api.call("POST", f"/clusters/{cloud.cluster}/primary-storage/{storage}", {})
    site.on.run("host1", "sh", "-c", f"dd if=/dev/zero of={FULL}/filler bs=1M 2>/dev/null || true")
    yield storage
    site.api.delete(f"/clusters/{cloud.cluster}/primary-storage/{storage}")
    site.api.delete(f"/primary-storage/{storage}")
    site.on.run("host1", "umount", FULL)


def test_full_disk_of_a_host_fails_the_vm_and_a_free_one_takes_it(site: Site, cloud: Cloud, full_disk: str) -> None:
    params = {"primaryStorageUuidForRootVolume": full_disk, "hostUuid": cloud.hosts["host1"]}

    error = _refused(site, cloud, **params)

    assert "agent.no-space" in error.codes
    assert "enlarge the disk" in error.told
    assert site.on.run("host1", "find", FULL, "-type", "f", "-not", "-name", "filler", "-size", "+0") == ""
    site.on.run("host1", "rm", f"{FULL}/filler")
    assert _created_and_gone(site, cloud, **params, strategy="CreateStopped")
