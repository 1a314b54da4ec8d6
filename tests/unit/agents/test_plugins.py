from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from cairn_audit.protocol import GetUptime, PutSeal, TakeSeal

from cairn.agents import plugins
from cairn.agents.commands import Registry
from cairn.agents.config import Role
from cairn.agents.plugins import areas_of_plugins


def points(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    found = [EntryPoint(name="x", value=value, group="cairn.agents") for value in values]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)


def test_commands_of_installed_plugins_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, "cairn_audit.agent:make")
    assert Registry(areas_of_plugins(Role.KVM)).names == sorted([GetUptime.name, PutSeal.name, TakeSeal.name])


def test_plugin_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, "no_such_module:make", "cairn_audit.agent:make")
    assert len(areas_of_plugins(Role.BACKUP)) == 1
