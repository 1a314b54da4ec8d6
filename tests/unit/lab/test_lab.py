from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.lab.conftest import FakeMachine

from cairn.kernel.error import CairnError
from cairn.lab import disk, host
from cairn.lab import probe as probing
from cairn.lab.lab import HostState, Lab
from cairn.lab.machine import Process


@pytest.fixture(autouse=True)
def _able_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "probe", lambda machine, folder: [])
    monkeypatch.setattr(disk, "prepare", lambda machine, target, data: target.folder.mkdir(exist_ok=True))
    monkeypatch.setattr(host, "wait_for_ssh", lambda target: None)


@pytest.fixture
def lab(tmp_path: Path, machine: FakeMachine) -> Lab:
    return Lab(tmp_path, "test", machine)


def _states(lab: Lab) -> list[str]:
    return [each.state.value for each in lab.hosts()]


def test_up_starts_the_hosts_asked_for(lab: Lab) -> None:
    status = lab.up(2)
    assert [(each.name, each.address, each.state) for each in status.hosts] == [
        ("host1", "198.19.0.11", HostState.RUNNING),
        ("host2", "198.19.0.12", HostState.RUNNING),
    ]
    assert Path(status.password_file).stat().st_mode & 0o777 == 0o600


def test_up_again_starts_only_what_is_missing(lab: Lab, machine: FakeMachine) -> None:
    lab.up(2)
    password = Path(lab.status().password_file).read_text()
    lab.kill("host2")
    assert len(lab.up(3).hosts) == 3
    assert [command[-3] for command in machine.started] == ["host1", "host2", "host2", "host3"]
    assert Path(lab.status().password_file).read_text() == password


def test_up_with_fewer_hosts_keeps_all(lab: Lab) -> None:
    lab.up(3)
    assert len(lab.up(1).hosts) == 3


def test_kill_cut_and_mend_show_in_the_status(lab: Lab) -> None:
    lab.up(2)
    lab.kill("host1")
    lab.cut("host2")
    assert _states(lab) == ["killed", "cut"]
    lab.mend("host1")
    lab.mend("2")
    assert _states(lab) == ["running", "running"]


def test_mending_a_running_host_does_not_boot_it(lab: Lab, machine: FakeMachine) -> None:
    lab.up(1)
    lab.mend("host1")
    assert len(machine.started) == 1


def test_killed_host_cannot_be_cut(lab: Lab) -> None:
    lab.up(1)
    lab.kill("host1")
    with pytest.raises(CairnError) as caught:
        lab.cut("host1")
    assert caught.value.code == "lab.host-off"


def test_down_leaves_nothing_and_can_be_repeated(lab: Lab, machine: FakeMachine, tmp_path: Path) -> None:
    lab.up(2)
    bystander = Process(7, ("bash",), (7,), "pid:[1]", "net:[machine]")
    guest = Process(8, ("cairn", "serve"), (8,), "pid:[1]", "net:[test-switch]")
    machine.running += [bystander, guest]
    assert lab.leftovers()
    lab.down()
    lab.down()
    assert not lab.leftovers()
    assert machine.running == [bystander]
    assert list(tmp_path.iterdir()) == []


def test_down_finds_a_lab_whose_record_is_lost(lab: Lab, machine: FakeMachine) -> None:
    lab.up(1)
    (lab._folder / "lab.json").unlink()
    lab.down()
    left = lab.leftovers()
    assert not (left.processes or left.namespaces or left.links)
    # Without its record nobody can say that the folder was the lab's.
    assert left.folders


def test_folder_of_a_lab_broken_off_before_its_record_is_removed(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/lab.json.new").touch()
    lab.down()
    assert not lab.leftovers()


def test_disks_in_memory_are_unmounted(lab: Lab, machine: FakeMachine) -> None:
    machine.refused['cd "$0" && mkdir'] = "wrong fs type"
    lab.up(1)
    assert lab.leftovers().mounts
    lab.up(1)
    lab.down()
    assert machine.points == [Path("/")]


def test_refused_lab_changes_nothing(
    lab: Lab, machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = probing.Feature(feature="root", ok=False, found="user id 1000", what_to_do="Run as root.")
    monkeypatch.setattr(probing, "probe", lambda machine, folder: [missing])
    with pytest.raises(CairnError) as caught:
        lab.up(2)
    assert caught.value.code == "lab.impossible"
    assert list(tmp_path.iterdir()) == []
    assert not lab.leftovers()


@pytest.mark.parametrize("hosts", [0, 101])
def test_wrong_number_of_hosts_changes_nothing(lab: Lab, tmp_path: Path, hosts: int) -> None:
    with pytest.raises(CairnError) as caught:
        lab.up(hosts)
    assert caught.value.code == "lab.too-many-hosts"
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_lab_is_left_alone(lab: Lab, tmp_path: Path, machine: FakeMachine) -> None:
    lab.up(1)
    other = Lab(tmp_path, "other", machine)
    for call in (lambda: other.up(1), other.down, other.status):
        with pytest.raises(CairnError) as caught:
            call()
        assert caught.value.code == "lab.wrong-folder"
    assert _states(lab) == ["running"]


def test_lab_of_the_same_name_elsewhere_is_left_alone(lab: Lab, tmp_path: Path, machine: FakeMachine) -> None:
    lab.up(1)
    with pytest.raises(CairnError) as caught:
        Lab(tmp_path / "elsewhere", "test", machine).up(1)
    assert caught.value.code == "lab.exists"


def test_no_lab_is_told_with_what_to_do(lab: Lab) -> None:
    with pytest.raises(CairnError) as caught:
        lab.status()
    assert caught.value.code == "lab.absent"
    assert "cairn lab up" in caught.value.message
    assert lab.hosts() == []


def test_unknown_host_is_told_which_there_are(lab: Lab) -> None:
    lab.up(2)
    with pytest.raises(CairnError) as caught:
        lab.kill("host3")
    assert caught.value.code == "lab.unknown-host"
    assert "host1 to host2" in caught.value.message
