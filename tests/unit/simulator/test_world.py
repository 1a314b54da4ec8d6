"""The simulated world as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from cairn.agents.protocol.vm import Disk, Hardware, Nic, PowerState
from cairn.simulator.world import BACKUP, Machine, SimFile, SimVm, load, new_world, restart_agents, save


def test_new_world_has_named_hosts_and_a_backup_server() -> None:
    world = new_world(2, machine=Machine(cpu_num=8))
    assert list(world.hosts) == [BACKUP, "sim-0001", "sim-0002"]
    assert world.hosts["sim-0002"].machine.cpu_num == 8
    assert len({host.address for host in world.hosts.values()}) == 3
    assert len({host.boot for host in world.hosts.values()}) == 3


def test_same_seed_makes_the_same_world() -> None:
    assert new_world(3, seed=5) == new_world(3, seed=5)
    assert new_world(3, seed=5) != new_world(3, seed=6)


def test_hosts_share_nothing() -> None:
    world = new_world(2)
    world.hosts["sim-0001"].storage.append("/a")
    world.hosts["sim-0001"].vms["x"] = vm()
    assert not world.hosts["sim-0002"].storage
    assert not world.hosts["sim-0002"].vms


def vm() -> SimVm:
    return SimVm(
        hardware=Hardware(uuid="x", name="web", cpu_num=1, memory_size=1 << 30),
        disks=[Disk(path="/s/root", device_id=0)],
        nics=[Nic(mac="fa:00:00:00:00:01", bridge="br0", device="vnic1.0")],
        state=PowerState.RUNNING,
        vnc_port=5900,
    )


def test_files_take_and_give_back_space() -> None:
    host = new_world(1).hosts["sim-0001"]
    free = host.available_bytes
    host.add_file(
        host.volumes,
        SimFile(path="/s/a", format="qcow2", virtual_size_bytes=100, actual_size_bytes=10, backing_path=None),
    )
    assert host.available_bytes == free - 10
    host.remove_file("/s/a")
    host.remove_file("/s/a")
    assert host.available_bytes == free


def test_running_vm_has_its_disks_and_taps_until_it_is_off() -> None:
    host = new_world(1).hosts["sim-0001"]
    host.power_on("x", vm())
    assert host.taken == {"/s/root": "x", "vnic1.0": "x"}
    host.power_off("x")
    host.power_off("x")
    host.power_off("y")
    assert not host.taken


def test_saved_world_comes_back_with_its_agents_restarted(tmp_path: Path) -> None:
    world = new_world(2)
    world.hosts["sim-0001"].power_on("x", vm())
    save(world, tmp_path / "world")
    again = load(tmp_path / "world")
    assert again.hosts["sim-0001"].vms == world.hosts["sim-0001"].vms
    assert again.hosts["sim-0001"].taken == world.hosts["sim-0001"].taken
    assert again.hosts["sim-0001"].boot != world.hosts["sim-0001"].boot
    assert [file.name for file in tmp_path.iterdir()] == ["world"]


def test_restart_of_one_agent_leaves_the_others() -> None:
    world = new_world(2)
    before = {name: host.boot for name, host in world.hosts.items()}
    restart_agents(world, "sim-0001")
    assert world.hosts["sim-0001"].boot != before["sim-0001"]
    assert world.hosts["sim-0002"].boot == before["sim-0002"]


def test_file_that_holds_no_world_is_refused(tmp_path: Path) -> None:
    (tmp_path / "world").write_text("{}")
    with pytest.raises(ValueError, match="holds no simulated world"):
        load(tmp_path / "world")
