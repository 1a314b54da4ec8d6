from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Cli
from tests.unit.kernel.plugin.test_purge import database, tables

from cairn.cli.errors import Exit


async def test_purge_shows_first_and_removes_when_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "node"
    path = await database(folder)
    monkeypatch.setenv("CAIRN_DATA_DIR", str(folder))

    shown = cli("plugin", "purge", "audit")
    assert shown.code == Exit.OK
    assert "audit_note" in shown.out
    assert "audit_note" in tables(path)

    monkeypatch.setenv("CAIRN_PLUGINS_EXTRA", "cairn_audit.manifest")
    refused = cli("plugin", "purge", "audit", "--yes")
    assert refused.code == Exit.USAGE
    assert "CAIRN_PLUGINS_DISABLED" in refused.err

    monkeypatch.setenv("CAIRN_PLUGINS_DISABLED", "audit")
    done = cli("plugin", "purge", "audit", "--yes", "--json")
    assert {one["name"] for one in json.loads(done.out)} >= {"audit_note", "AuditNote"}
    assert "audit_note" not in tables(path)
    assert "No plugin 'audit' has left anything" in cli("plugin", "purge", "audit").err
