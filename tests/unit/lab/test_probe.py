from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.unit.lab.conftest import FakeMachine

from cairn.kernel.error import CairnError
from cairn.lab import probe as probing


@pytest.fixture(autouse=True)
def _complete_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/usr/bin/{name}")


def test_machine_with_all_is_accepted(machine: FakeMachine, tmp_path: Path) -> None:
    features = probing.probe(machine, tmp_path / "not/yet")
    assert all(item.ok for item in features)
    probing.require(features)
    assert list(tmp_path.iterdir()) == []


def test_without_root_nothing_is_tried(machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CairnError) as caught:
        probing.require(probing.probe(machine, tmp_path))
    assert caught.value.code == "lab.impossible"
    assert caught.value.details["missing"] == ["root"]
    assert "cairn up --simulated" in caught.value.message
    assert machine.commands == []


def test_missing_program_names_its_package(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name == "libvirtd" else name)
    (missing,) = [item for item in probing.probe(machine, tmp_path) if not item.ok]
    assert missing.feature == "libvirtd"
    assert "libvirt-daemon-system" in missing.what_to_do


def test_feature_that_the_kernel_refuses_is_named_with_what_it_said(machine: FakeMachine, tmp_path: Path) -> None:
    machine.refused["probe-br"] = "Unknown device type"
    (missing,) = [item for item in probing.probe(machine, tmp_path) if not item.ok]
    assert missing.feature == "bridge and veth links"
    assert missing.found == "Unknown device type"


def test_folder_that_cannot_hold_layers_is_no_hindrance_where_memory_can(machine: FakeMachine, tmp_path: Path) -> None:
    machine.refused['cd "$0" && mkdir'] = "wrong fs type"
    machine.refused["-t tmpfs"] = ""
    assert probing.overlay_needs_tmpfs(machine, tmp_path)


def test_no_overlay_at_all(machine: FakeMachine, tmp_path: Path) -> None:
    machine.refused["-t overlay"] = "unknown filesystem type 'overlay'"
    (missing,) = [item for item in probing.probe(machine, tmp_path) if not item.ok]
    assert missing.feature == "overlayfs over /"
