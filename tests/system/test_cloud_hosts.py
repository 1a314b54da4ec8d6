"""Real machines become hosts of a cloud, or are refused without a trace."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.system.api import Refused, eventually
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
    """What is kept of machines: pinned keys, keys to log in, certificates, runs of Ansible."""
    data = site.node.data
    folders = (data / "ssh", data / "ansible" / "runs")
    files = {str(path) for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(f"file:{data / 'cairn.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT uuid FROM agent_pair UNION ALL SELECT uuid FROM known_host").fetchall()
    return files | {str(row[0]) for row in rows}


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


def test_a_machine_with_another_address_is_a_host_already(
    site: Site, cluster: tuple[str, str], hosts: dict[str, str], second_address: str
) -> None:
    boot, files = _boot(site, hosts["host1"]), _traces(site)
    error = _refused(site, cluster[1], managementIp=second_address, password=site.password)

    assert "host.machine-taken" in error.codes
    assert "host1" in error.told
    assert (_boot(site, hosts["host1"]), _traces(site)) == (boot, files), "nothing was changed on it"
    assert site.host_status(hosts["host1"]) == "Connected"


def test_a_host_key_that_was_given_is_compared_before_anything_is_sent(
    site: Site, cluster: tuple[str, str], hosts: dict[str, str], second_address: str
) -> None:
    pinned = site.api.one(f"/hosts/kvm/{hosts['host1']}")["hostKeyFingerprint"]
    shown = {
        line.split()[1]
        for line in site.on.run(
            "host1", "sh", "-c", "for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -l -f $key; done"
        ).splitlines()
    }
    wrong = f"SHA256:{'A' * 43}"
    error = _refused(site, cluster[1], managementIp=second_address, password=site.password, hostKeyFingerprint=wrong)

    assert pinned in shown
    assert "ssh.wrong-host-key" in error.codes
    assert next(iter(shown)) in error.told


def test_a_host_whose_password_was_changed_is_connected_again_when_its_agent_was_restarted(
    site: Site, hosts: dict[str, str]
) -> None:
    host = hosts["host1"]
    boot, shadow = _boot(site, host), site.on.run("host1", "cat", "/etc/shadow")
    site.on.run("host1", "sh", "-c", "echo root:another | chpasswd")
    try:
        site.on.run("host1", "pkill", "-KILL", "-f", "cairn-agent serve --role kvm")
        eventually(lambda: _boot(site, host) != boot, "the node has seen the agent that was started again")
        eventually(lambda: site.host_status(host) == "Connected", "the host is connected")
    finally:
        site.lab.exec("host1", ["sh", "-c", "cat > /etc/shadow"], input_text=shadow)


def test_an_agent_that_is_not_as_it_should_be_is_replaced_by_itself(site: Site, hosts: dict[str, str]) -> None:
    host, config = hosts["host2"], "/etc/cairn/agent.json"
    good = site.on.run("host2", "cat", config)
    boot = _boot(site, host)
    site.on.run("host2", "sed", "-i", 's/"deployment": "[0-9a-f]*"/"deployment": "0ld"/', config)
    site.on.run("host2", "pkill", "-KILL", "-f", "cairn-agent serve --role kvm")

    eventually(lambda: _boot(site, host) != boot, "the node has seen the agent that was started again")
    eventually(lambda: site.on.run("host2", "cat", config) == good, "it was put there as it should be", seconds=120)
    eventually(lambda: site.host_status(host) == "Connected", "the host is connected")
    assert site.api.one(f"/hosts/{host}")["agentWarning"] is None


def test_reconnect_changes_nothing(site: Site, hosts: dict[str, str]) -> None:
    before = {name: _boot(site, uuid) for name, uuid in hosts.items()}

    for uuid in hosts.values():
        runs = _runs(site)
        site.api.act(f"/hosts/{uuid}", "reconnectHost")
        assert _runs(site) == runs, "its agent answers: nobody logs in"
        site.api.act(f"/hosts/{uuid}", "reconnectHost", redeploy=True)
        assert _runs(site) == runs + 1
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


def _boot(site: Site, host: str) -> str:
    return str(site.api.one(f"/hosts/{host}")["agentBoot"])


def _traces(site: Site) -> str:
    """The agent's files on host1, with the times when they were changed."""
    return site.on.run("host1", "sh", "-c", "find /etc/cairn /opt/cairn-agent -maxdepth 2 -printf '%p %T@\\n' | sort")


def _runs(site: Site) -> int:
    """How often Ansible has run."""
    return len(list((site.node.data / "ansible" / "logs").iterdir()))


def _changed_by_newest_run(site: Site) -> int:
    """How many tasks of Ansible's newest run changed something."""
    newest = max((site.node.data / "ansible" / "logs").iterdir(), key=lambda path: path.stat().st_mtime)
    found = re.search(r"changed=(\d+)", newest.read_text())
    assert found is not None, newest.read_text()
    return int(found[1])
