"""The lab on this machine: real hosts, and nothing left of them afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cairn.lab import Lab
from cairn.lab.machine import Machine, wait_until

pytestmark = pytest.mark.lab


def _own_network() -> str:
    done = subprocess.run(
        "ip -brief link; ip -brief address; ip route; nft list ruleset 2>/dev/null; sysctl net.ipv4.ip_forward",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    # Other labs may come and go beside this one.
    return "\n".join(line for line in done.stdout.splitlines() if "-lab0" not in line)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, f"t{os.getpid() % 1_000_000}")
    missing = [f"{item.feature}: {item.found}" for item in lab.probe() if not item.ok]
    if missing:
        pytest.skip(f"no lab on this machine: {missing}")
    yield lab
    lab.down()
    assert not lab.leftovers()


def _until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, timeout_seconds=20)


def _ssh(lab: Lab, address: str, command: str, *, password: bool = False) -> str:
    status = lab.status()
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5"]
    environment = dict(os.environ)
    if password:
        ask = Path(status.folder).parent / "ask"
        ask.write_text(f"#!/bin/sh\ncat {status.password_file}\n")
        ask.chmod(0o700)
        environment |= {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        options += ["-o", "PubkeyAuthentication=no"]
    else:
        options += ["-o", "BatchMode=yes", "-i", status.key_file]
    done = subprocess.run(
        ["ssh", *options, f"root@{address}", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_hosts_are_reached_by_key_and_password_and_reach_each_other(lab: Lab) -> None:
    before = _own_network()
    first, second = lab.up(2).hosts
    assert _ssh(lab, first.address, "hostname") == "host1"
    assert _ssh(lab, second.address, "hostname", password=True) == "host2"
    assert lab.exec("host1", ["ping", "-c1", "-W2", "host2"]).returncode == 0
    assert lab.exec("host2", ["ping", "-c1", "-W2", lab.status().machine_address]).returncode == 0
    assert _own_network() == before
    lab.down()
    assert not lab.leftovers()
    assert _own_network() == before


def test_host_sees_nothing_of_the_machines_state(lab: Lab) -> None:
    lab.up(1)
    mark = Path("/var/tmp") / f"cairn-lab-{os.getpid()}"
    try:
        lab.exec("host1", ["touch", str(mark)])
        assert not mark.exists()
    finally:
        mark.unlink(missing_ok=True)
    machine_key = Path("/root/.ssh/id_ed25519")
    seen = lab.exec("host1", ["sh", "-c", "ls -A /home /var/lib/cairn /root/.ssh /run/netns; ps -e | wc -l"]).stdout
    assert "authorized_keys" in seen
    assert machine_key.name not in seen
    assert int(seen.split()[-1]) < 12


def test_killed_host_comes_back_with_its_disk_and_runs_its_boot_scripts(lab: Lab) -> None:
    lab.up(2)
    script = "#!/bin/sh\necho booted >>/root/boots\nsetsid sleep 1000 </dev/null >/dev/null 2>&1 &\n"
    lab.exec("host1", ["sh", "-c", "cat >/etc/cairn-lab/boot.d/50-test"], input_text=script)
    lab.exec("host1", ["chmod", "755", "/etc/cairn-lab/boot.d/50-test"])
    lab.exec("host1", ["ip", "link", "add", "br_gone", "type", "bridge"])
    lab.kill("host1")
    assert [host.state for host in lab.hosts()] == ["killed", "running"]
    lab.mend("host1")
    _until(lambda: lab.exec("host1", ["cat", "/root/boots"]).stdout == "booted\n", "the boot script has run")
    assert lab.exec("host1", ["ip", "link", "show", "br_gone"]).returncode != 0
    assert lab.exec("host1", ["pgrep", "-f", "sleep 1000"]).returncode == 0
    assert [host.state for host in lab.hosts()] == ["running", "running"]


def test_cut_host_runs_on_unreached(lab: Lab) -> None:
    lab.up(2)
    lab.cut("host2")
    assert [host.state for host in lab.hosts()] == ["running", "cut"]
    assert lab.exec("host1", ["ping", "-c1", "-W1", "host2"]).returncode != 0
    assert lab.exec("host2", ["true"]).returncode == 0
    lab.mend("host2")
    assert lab.exec("host1", ["ping", "-c1", "-W2", "host2"]).returncode == 0


def test_orphans_in_a_host_are_reaped(lab: Lab) -> None:
    lab.up(1)
    lab.exec("host1", ["sh", "-c", "(setsid sleep 0.1 </dev/null >/dev/null 2>&1 &)"])
    _until(lambda: "Z" not in lab.exec("host1", ["ps", "-e", "-o", "stat="]).stdout, "no zombie is left")


def test_down_after_a_crash_in_the_middle_leaves_nothing(lab: Lab) -> None:
    lab.up(2)
    machine = Machine()
    name = lab.status().name
    # The record's and a host's files are lost, a port is gone, and somebody still runs a program on the switch.
    machine.run("ip", "-n", f"{name}-switch", "link", "delete", "port1")
    (Path(lab.status().folder) / "hosts/host2/complete").unlink()
    stranger = subprocess.Popen(["ip", "netns", "exec", f"{name}-switch", "sleep", "1000"])
    lab.down()
    assert stranger.wait(timeout=10) != 0
    assert not lab.leftovers()
    lab.down()


def test_up_completes_a_half_built_lab(lab: Lab) -> None:
    lab.up(1)
    machine = Machine()
    name = lab.status().name
    lab.kill("host1")
    machine.run("ip", "netns", "delete", f"{name}-switch")
    machine.run("ip", "netns", "add", f"{name}-host1")
    assert [host.state for host in lab.up(2).hosts] == ["running", "running"]
    assert lab.exec("host1", ["ping", "-c1", "-W2", "host2"]).returncode == 0
