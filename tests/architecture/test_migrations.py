"""The migrations make the tables that the records declare."""

from __future__ import annotations

from pathlib import Path

from cairn.bootstrap import load_plugins, migration_folders
from cairn.kernel.assembly import make_schema
from cairn.kernel.settings import load
from cairn.kernel.store.migrations import check, upgrade


def test_scripts_and_records_agree(tmp_path: Path) -> None:
    loaded = load_plugins(load({}))
    database = tmp_path / "cairn.db"
    upgrade(database, migration_folders(loaded))
    assert check(database, make_schema(loaded)) == []
