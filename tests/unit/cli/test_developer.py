from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.errors import Exit
from cairn.kernel.deploy import wheels
from cairn.kernel.deploy.wheels import WheelSet

NOWHERE = ("--url", "http://127.0.0.1:9")
STEPS = [{"name": "zone.look", "title": "looking", "origin": "services/zone/workflows.toml"}]


@pytest.fixture
def workflows(node: FakeNode) -> None:
    one = {"name": "zone.delete", "doc": "Delete a zone.", "steps": STEPS}
    node.answers["GET", "/v1/workflows"] = (200, {"inventories": [one]})


@pytest.mark.usefixtures("workflows")
def test_workflows_are_those_of_the_node(cli: Cli) -> None:
    ran = cli("workflow", "list")
    assert ran.code == Exit.OK
    assert "zone.delete" in ran.out
    assert "Delete a zone." in ran.out


@pytest.mark.usefixtures("workflows")
def test_each_step_of_a_workflow_tells_where_it_is_from(cli: Cli) -> None:
    told = cli("workflow", "show", "zone.delete").out
    assert "zone.look" in told
    assert "services/zone/workflows.toml" in told
    assert json.loads(cli("workflow", "show", "zone.delete", "--json").out)["steps"] == STEPS


@pytest.mark.usefixtures("workflows")
def test_a_workflow_that_there_is_not_is_asked_about(cli: Cli) -> None:
    ran = cli("workflow", "show", "zone.delet")
    assert ran.code == Exit.USAGE
    assert "Did you mean zone.delete?" in ran.err


def test_without_a_node_what_one_would_use_is_told_with_the_operators_changes(cli: Cli, environment: Path) -> None:
    folder = environment / "data" / "workflows.d"
    folder.mkdir(parents=True)
    ran = cli("workflow", "show", "vm.create", *NOWHERE)
    assert ran.code == Exit.OK
    assert "No node answers" in ran.err
    assert "vm.start-on-host" in ran.out
    assert "services/vm/workflows.toml" in ran.out
    (folder / "broken.toml").write_text('[[change]]\nworkflow = "vm.create"\nremove = "no.such-step"\n')
    refused = cli("workflow", "show", "vm.create", "--offline")
    assert refused.code == Exit.REFUSED
    assert "no.such-step" in refused.err


def test_wheels_are_built_where_nodes_look_or_where_it_is_said(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def build(folder: Path, source: Path | None = None) -> WheelSet:
        asked.append(folder)
        return WheelSet(folder=folder, checksum="c" * 64, names=("a.whl", "b.whl"))

    monkeypatch.setattr(wheels, "build_wheels", build)
    assert f"2 wheels in {tmp_path / 'w'}" in cli("wheels", "build", "--output", str(tmp_path / "w")).out
    assert json.loads(cli("wheels", "build", "--json").out)["names"] == ["a.whl", "b.whl"]
    assert asked == [tmp_path / "w", wheels.default_folder()]


def test_a_plugin_without_migrations_is_told_those_that_have_some(cli: Cli) -> None:
    ran = cli("migrations", "revision", "what changes", "--plugin", "nobody")
    assert ran.code == Exit.USAGE
    assert "No plugin 'nobody' has migrations of its own; there are: " in ran.err
    assert "kvm" in ran.err


@pytest.mark.parametrize("whose", [[], ["--plugin", "kvm"]])
def test_scripts_and_records_that_agree_need_no_script(cli: Cli, whose: list[str]) -> None:
    assert cli("migrations", "revision", "nothing", *whose).out == "Nothing differs between scripts and records.\n"
