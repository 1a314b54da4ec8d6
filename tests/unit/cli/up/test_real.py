from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from tests.unit.cli.up.fakes import FakeCloud

from cairn.cli.errors import CliError
from cairn.cli.up import real
from cairn.cli.up.real import RealCloud
from cairn.cli.up.report import Report
from cairn.kernel.error import CairnError
from cairn.lab.lab import HostState, HostStatus, Lab, LabStatus
from cairn.lab.probe import Feature


class FakeLab:
    """Hosts of paper; `missing` is what the machine lacks."""

    def __init__(self, folder: Path, missing: str = "") -> None:
        self._folder = folder
        self._missing = missing
        self.ran: list[tuple[str, Sequence[str]]] = []
        (folder / "password").write_text("hunter2\n")

    def probe(self) -> list[Feature]:
        return [Feature(feature="root", ok=not self._missing, found=self._missing, what_to_do="Run it as root.")]

    def up(self, hosts: int) -> LabStatus:
        return LabStatus(
            name="cairn",
            folder=str(self._folder),
            subnet="198.18.0.0/16",
            machine_address="127.0.0.1",
            key_file="",
            password_file=str(self._folder / "password"),
            hosts=[
                HostStatus(name=f"host{n}", address=f"198.18.0.1{n}", ssh_port=22, user="root", state=HostState.RUNNING)
                for n in range(1, hosts + 1)
            ],
        )

    def exec(self, name: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.ran.append((name, arguments))
        return subprocess.CompletedProcess(arguments, 0, "", "")


class FakeNode:
    url = "http://127.0.0.1:8080"

    def __init__(self) -> None:
        self.inside = ""

    def up(self, report: Report, inside: str = "") -> None:
        """It runs."""
        self.inside = inside


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(real, "_ensure_wheels", lambda report: None)
    path = tmp_path / "guest.qcow2"
    path.write_bytes(b"QFI")
    return path


def _cloud(lab: FakeLab, node: FakeNode, api: FakeCloud, report: Report, folder: Path) -> RealCloud:
    return RealCloud(cast("Lab", lab), node, api, report, folder)


def test_empty_machine_becomes_a_cloud_with_a_vm_that_answers(tmp_path: Path, image: Path) -> None:
    lab, node, api, told = FakeLab(tmp_path), FakeNode(), FakeCloud(), io.StringIO()
    outcome = _cloud(lab, node, api, Report(told), tmp_path / "data").up(2, image)
    assert (outcome.address, outcome.host, outcome.vm["state"]) == ("10.89.0.7", "host1", "Running")
    assert "host name: first" in outcome.console
    assert node.inside == "127.0.0.1"
    assert [row["managementIp"] for row in api.rows["Host"]] == ["198.18.0.11", "198.18.0.12"]
    assert api.rows["Host"][0]["password"] == "hunter2"
    assert api.rows["BackupStorage"][0]["hostname"] == "198.18.0.11"
    assert str(api.rows["Image"][0]["url"]).startswith("http://127.0.0.1:")
    assert lab.ran[0][0] == "host1"
    assert "✘" not in told.getvalue()
    assert "hunter2" not in told.getvalue()


def test_second_run_makes_nothing_again(tmp_path: Path, image: Path) -> None:
    lab, node, api = FakeLab(tmp_path), FakeNode(), FakeCloud()
    _cloud(lab, node, api, Report(None), tmp_path / "data").up(2, image)
    before = len(api.calls)
    _cloud(lab, node, api, Report(None), tmp_path / "data").up(2, image)
    assert len(api.calls) == before


def test_machine_that_cannot_carry_a_lab_is_told_what_is_missing_and_offered_the_simulated_cloud(
    tmp_path: Path, image: Path
) -> None:
    lab, node, api = FakeLab(tmp_path, missing="user id 1000"), FakeNode(), FakeCloud()
    with pytest.raises(CairnError, match="cairn up --simulated") as caught:
        _cloud(lab, node, api, Report(None), tmp_path / "data").up(2, image)
    assert "Run it as root." in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_failing_step_is_marked_and_ends_it(tmp_path: Path, image: Path) -> None:
    api, told = FakeCloud(), io.StringIO()
    api.failing = {"AddKVMHost"}
    with pytest.raises(CliError, match="AddKVMHost failed"):
        _cloud(FakeLab(tmp_path), FakeNode(), api, Report(told), tmp_path / "data").up(1, image)
    assert "✘ add 1 hosts over SSH" in told.getvalue()
