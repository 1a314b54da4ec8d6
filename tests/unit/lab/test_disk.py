from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.lab.conftest import FakeMachine

from cairn.lab import disk
from cairn.lab.disk import Layers
from cairn.lab.layout import LabLayout


@pytest.fixture(autouse=True)
def hidden(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made opaque; only root may really do that."""
    found: list[str] = []
    monkeypatch.setattr(os, "setxattr", lambda path, name, value: found.append(str(path)))
    monkeypatch.setattr(os, "chown", lambda path, user, group: None)
    return found


@pytest.fixture
def lab(layout: LabLayout) -> LabLayout:
    layout.disks.mkdir(parents=True)
    layout.key_file.with_suffix(".pub").write_text("ssh-ed25519 KEY")
    layout.password_file.write_text("secret\n")
    return layout


def test_machine_with_one_file_system_gives_one_tree(machine: FakeMachine) -> None:
    machine.points += [Path("/proc"), Path("/mnt/usb")]
    assert disk.trees(machine) == ["/"]


def test_file_systems_of_their_own_become_trees_outer_first(machine: FakeMachine) -> None:
    machine.points += [Path("/var/log"), Path("/usr"), Path("/var")]
    assert disk.trees(machine) == ["/", "/usr", "/var", "/var/log"]


def test_files_go_to_the_layer_of_their_tree(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "disk", ["/", "/var", "/usr"])
    assert layers.place("/etc/hosts") == tmp_path / "disk/upper/etc/hosts"
    assert layers.place("/var/lib/x") == tmp_path / "disk/var/upper/lib/x"
    assert layers.place("/various") == tmp_path / "disk/upper/various"
    assert layers.place("/var") == tmp_path / "disk/var/upper"


def test_folder_takes_the_mode_of_the_machines_folder(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "disk", ["/"])
    assert layers.folder("/root").stat().st_mode & 0o7777 == Path("/root").stat().st_mode & 0o7777


def test_disk_hides_what_the_machine_is_and_carries_the_labs_keys(
    machine: FakeMachine, lab: LabLayout, hidden: list[str], tmp_path: Path
) -> None:
    host = lab.host(2)
    disk.prepare(machine, host, tmp_path / "data")
    upper = host.folder / "disk/upper"
    hidden_paths = {path.removeprefix(str(upper)) for path in hidden}
    assert {*disk.HIDDEN, str(tmp_path / "data")} == hidden_paths
    assert (upper / "etc/hostname").read_text() == "host2\n"
    assert f"{lab.host(1).address} host1\n" in (upper / "etc/hosts").read_text()
    assert (upper / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 KEY"
    password = upper / "etc/cairn-lab/password"
    assert password.read_text() == "root:secret\n"
    assert password.stat().st_mode & 0o777 == 0o600
    assert (upper / "etc/cairn-lab/init").stat().st_mode & 0o111
    assert (upper / "etc/cairn-lab/boot.d").is_dir()


def test_hosts_differ_in_machine_id_and_host_key(machine: FakeMachine, lab: LabLayout, tmp_path: Path) -> None:
    for number in (1, 2):
        disk.prepare(machine, lab.host(number), tmp_path)
    identities = {(lab.host(n).folder / "disk/upper/etc/machine-id").read_text() for n in (1, 2)}
    assert len(identities) == 2
    assert sum(words[0] == "ssh-keygen" for words in machine.commands) == 2


def test_disk_that_is_complete_is_kept(machine: FakeMachine, lab: LabLayout, tmp_path: Path) -> None:
    host = lab.host(1)
    disk.prepare(machine, host, tmp_path)
    written = host.folder / "disk/upper/root/work"
    written.touch()
    disk.prepare(machine, host, tmp_path)
    assert written.exists()


def test_disk_whose_making_was_broken_off_is_made_again(machine: FakeMachine, lab: LabLayout, tmp_path: Path) -> None:
    host = lab.host(1)
    (host.folder / "disk/upper/etc").mkdir(parents=True)
    (host.folder / "disk/upper/etc/half").touch()
    disk.prepare(machine, host, tmp_path)
    assert not (host.folder / "disk/upper/etc/half").exists()
    assert (host.folder / "complete").exists()
