from __future__ import annotations

import pytest
from cairn_audit.protocol import GetUptime, PutSeal, TakeSeal, Uptime

from cairn.simulator import plugins
from cairn.simulator.plugins import commands_of, installed

OURS = {GetUptime.name, PutSeal.name, TakeSeal.name}


def test_commands_come_from_the_module_simulator_of_a_package() -> None:
    assert commands_of(["cairn_audit", "cairn.services.zone"]).keys() == OURS


def test_package_that_cannot_be_imported_brings_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commands_of(["no_such_package.x", "cairn_audit"]).keys() == OURS


def test_command_that_is_there_already_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "COMMANDS", {GetUptime.name: None})
    assert commands_of(["cairn_audit"]) == {}


def test_foreign_plugins_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    found = installed({"CAIRN_PLUGINS_EXTRA": "cairn_audit.manifest, cairn.testing.faults"})
    assert found == ["cairn_audit"]
    assert Uptime(seconds=1).seconds == 1
