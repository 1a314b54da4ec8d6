from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cairn.lab import probe as probing
from cairn.lab.cli import lab
from cairn.lab.lab import HostState, HostStatus, Lab, LabStatus

STATUS = LabStatus(
    name="test",
    folder="/d/lab",
    subnet="198.19.0.0/24",
    machine_address="198.19.0.1",
    key_file="/d/lab/id_ed25519",
    password_file="/d/lab/password",
    hosts=[HostStatus(name="host1", address="198.19.0.11", ssh_port=22, user="root", state=HostState.CUT)],
)


@pytest.fixture
def cli(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"CAIRN_DATA_DIR": str(tmp_path), "CAIRN_LAB_NAME": "clitest"})


def test_status_of_no_lab_says_how_to_make_one(cli: CliRunner) -> None:
    result = cli.invoke(lab, ["status"])
    assert result.exit_code == 1
    assert "cairn lab up --hosts 2" in result.output


def test_status_for_people_says_how_to_log_in(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "status", lambda self: STATUS)
    result = cli.invoke(lab, ["status"])
    assert result.exit_code == 0
    assert "ssh -i /d/lab/id_ed25519 root@198.19.0.11" in result.output
    assert "cut" in result.output


def test_up_answers_programs_in_json(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def up(self: Lab, hosts: int) -> LabStatus:
        asked.append(hosts)
        return STATUS

    monkeypatch.setattr(Lab, "up", up)
    answer = json.loads(cli.invoke(lab, ["up", "--hosts", "3", "--json"]).output)
    assert asked == [3]
    assert answer["hosts"][0] == {
        "name": "host1", "address": "198.19.0.11", "ssh_port": 22, "user": "root", "state": "cut",
    }  # fmt: skip


def test_wrong_name_is_a_usage_error(cli: CliRunner) -> None:
    result = cli.invoke(lab, ["--name", "Not-Good", "status"])
    assert result.exit_code == 2
    assert "lab.wrong-name" in result.output


def test_probe_with_something_missing_exits_with_1(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = probing.Feature(feature="root", ok=False, found="user id 1000", what_to_do="Run as root.")
    monkeypatch.setattr(probing, "probe", lambda machine, folder: [missing])
    result = cli.invoke(lab, ["probe", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)[0]["feature"] == "root"
