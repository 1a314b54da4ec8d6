from __future__ import annotations

import pytest
from tests.unit.cli.up.fakes import FakeCloud

from cairn.cli.client import Json
from cairn.cli.errors import CliError
from cairn.cli.up import fixtures
from cairn.cli.up.fixtures import REAL

HOSTS: list[Json] = [{"name": f"host{n}", "managementIp": f"198.18.0.1{n}", "clusterUuid": "c"} for n in (1, 2)]


def _fill(cloud: FakeCloud) -> Json:
    zone, cluster = fixtures.zone_and_cluster(cloud, REAL)
    l3 = fixtures.network(cloud, REAL, zone, cluster)
    fixtures.primary_storage(cloud, REAL, zone, cluster)
    fixtures.hosts(cloud, "AddKVMHost", HOSTS)
    backup = fixtures.backup_storage(cloud, REAL, zone, "AddSftpBackupStorage", {})
    image = fixtures.find_image(cloud, REAL) or fixtures.add_image(cloud, REAL, backup, "http://x/guest.qcow2")
    return fixtures.vm(cloud, image, l3, fixtures.offering(cloud, REAL))


def test_everything_is_made_once_and_found_again() -> None:
    cloud = FakeCloud()
    first = _fill(cloud)
    made = list(cloud.calls)
    assert _fill(cloud) is first
    assert cloud.calls == made
    assert fixtures.address_of(first) == "10.89.0.7"


def test_hosts_that_are_down_are_reconnected_and_missing_ones_added() -> None:
    cloud = FakeCloud()
    fixtures.hosts(cloud, "AddKVMHost", HOSTS[:1])
    cloud.rows["Host"][0]["status"] = "Disconnected"
    assert fixtures.hosts(cloud, "AddKVMHost", HOSTS) == 1
    assert cloud.calls == ["AddKVMHost", "AddKVMHost", "ReconnectHost"]


@pytest.mark.parametrize(("state", "call"), [("Stopped", "StartVmInstance"), ("Paused", "ResumeVmInstance")])
def test_vm_that_does_not_run_is_brought_back_instead_of_made_again(state: str, call: str) -> None:
    cloud = FakeCloud()
    _fill(cloud)
    cloud.rows["VmInstance"][0]["state"] = state
    assert _fill(cloud)["state"] == "Running"
    assert cloud.calls[-1] == call


def test_destroyed_vm_is_made_again() -> None:
    cloud = FakeCloud()
    _fill(cloud)
    cloud.rows["VmInstance"][0]["state"] = "Destroyed"
    _fill(cloud)
    assert cloud.calls.count("CreateVmInstance") == 2


def test_disconnected_backup_storage_is_reconnected() -> None:
    cloud = FakeCloud()
    _fill(cloud)
    cloud.rows["BackupStorage"][0]["status"] = "Disconnected"
    _fill(cloud)
    assert cloud.calls[-1] == "ReconnectBackupStorage"


def test_failure_ends_it_with_the_clouds_error() -> None:
    cloud = FakeCloud()
    cloud.failing = {"AddKVMHost"}
    with pytest.raises(CliError, match="AddKVMHost failed"):
        _fill(cloud)


def test_vm_without_network_cards_has_no_address() -> None:
    assert fixtures.address_of({"vmNics": []}) == ""
