"""Real machines become hosts of a cloud, or are refused without a trace."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.api import Refused
from tests.system.site import Cloud, Site

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def second_address(site: Site) -> Iterator[str]:
    """Another address of host1, where no host of the cloud is."""
    address = f"{site.on.address('host1').rsplit('.', 1)[0]}.200"
    site.on.run("host1", "ip", "address", "add", f"{address}/24", "dev", "eth0")
    yield address
    site.on.run("host1", "ip", "address", "delete", f"{address}/24", "dev", "eth0")


def _secrets(site: Site) -> set[str]:
    """What the node keeps of machines: pinned keys, keys to log in, certificates, runs of Ansible."""
    data = site.node.data
    folders = (data / "ssh", data / "pki" / "agents", data / "ansible" / "runs")
    return {str(path) for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()}


def _refused(site: Site, cluster: str, **params: Any) -> Refused:
    """Adding a host with these parameters fails, and nothing of it stays."""
    before = _secrets(site)
    with pytest.raises(Refused) as caught:
        site.api.create("/hosts/kvm", name="nobody", clusterUuid=cluster, **params)
    assert site.api.query("/hosts", "name=nobody") == []
    assert _secrets(site) == before
    return caught.value


def test_host_with_a_wrong_password_is_not_added(site: Site, cluster: tuple[str, str], second_address: str) -> None:
    error = _refused(site, cluster[1], managementIp=second_address, password="wrong")
    assert "ssh.login-failed" in error.codes
    assert "password is wrong" in error.told


def test_host_with_a_wrong_key_is_not_added(
    site: Site, cluster: tuple[str, str], second_address: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    error = _refused(site, cluster[1], managementIp=second_address, privateKey=key.read_text())
    assert "ssh.login-failed" in error.codes
    assert "key is wrong" in error.told


def test_host_at_an_address_where_nobody_is_is_not_added(site: Site, cluster: tuple[str, str]) -> None:
    nowhere = f"{site.on.address('host1').rsplit('.', 1)[0]}.201"
    error = _refused(site, cluster[1], managementIp=nowhere, password="x")
    assert {"ssh.unreachable", "ssh.timeout"} & set(error.codes)
    assert nowhere in error.told


def test_host_at_a_port_without_ssh_is_not_added(site: Site, cluster: tuple[str, str], second_address: str) -> None:
    error = _refused(site, cluster[1], managementIp=second_address, password=site.password, sshPort=9)
    assert "ssh.unreachable" in error.codes
    assert f"{second_address}:9" in error.told


def test_hosts_tell_what_they_are(site: Site, hosts: dict[str, str]) -> None:
    for name, uuid in hosts.items():
        host = site.api.one(f"/hosts/{uuid}")
        assert (host["name"], host["status"], host["state"]) == (name, "Connected", "Enabled")
        assert host["managementIp"] == site.on.address(name)
        assert host["accelerator"] in ("kvm", "tcg")
        assert host["accelerator"] == "kvm" or "/dev/kvm" in host["acceleratorNote"]
        assert host["cpuNum"] > 0
        assert 0 < host["availableMemoryCapacity"] <= host["totalMemoryCapacity"]
        assert host["qemuVersion"]
        assert host["libvirtVersion"]
        assert host["features"]["vxlan"] is True


def test_a_host_cannot_be_added_twice(site: Site, cluster: tuple[str, str], hosts: dict[str, str]) -> None:
    error = _refused(site, cluster[1], managementIp=site.on.address("host1"), password=site.password)
    assert "host.address-taken" in error.codes


def test_reconnect_changes_nothing(site: Site, hosts: dict[str, str]) -> None:
    before = {name: site.api.one(f"/hosts/{uuid}")["agentBoot"] for name, uuid in hosts.items()}

    for uuid in hosts.values():
        site.api.act(f"/hosts/{uuid}", "reconnectHost")
        assert _changed_by_newest_run(site) == 0

    assert before == {name: site.api.one(f"/hosts/{uuid}")["agentBoot"] for name, uuid in hosts.items()}


def test_deleted_host_is_left_clean_and_can_be_added_again(site: Site, cloud: Cloud) -> None:
    uuid = cloud.hosts["host2"]

    site.api.delete(f"/hosts/{uuid}")

    assert not site.on.succeeds("host2", "pgrep", "-f", "cairn-agent")
    ours = "/opt/cairn* /etc/cairn/* /usr/local/lib/cairn* /sys/class/net/*/bridge"
    assert site.on.run("host2", "sh", "-c", f"ls -d {ours} 2>/dev/null || true") == ""
    assert [path for path in _secrets(site) if uuid in path] == []
    assert site.api.query("/primary-storage/local-storage/hosts", f"hostUuid={uuid}") == []

    added = site.add_host(cloud.cluster, "host2", privateKey=site.private_key)

    assert added["status"] == "Connected"
    cloud.hosts["host2"] = added["uuid"]
    assert len(site.api.query("/primary-storage/local-storage/hosts")) == len(cloud.hosts)


def _changed_by_newest_run(site: Site) -> int:
    """How many tasks of Ansible's newest run changed something."""
    newest = max((site.node.data / "ansible" / "logs").iterdir(), key=lambda path: path.stat().st_mtime)
    found = re.search(r"changed=(\d+)", newest.read_text())
    assert found is not None, newest.read_text()
    return int(found[1])
