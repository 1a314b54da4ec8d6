"""The migrations make the tables that the records declare."""

from __future__ import annotations

import re
from pathlib import Path

from cairn.bootstrap import load_plugins, migration_folders
from cairn.kernel.assembly import make_schema
from cairn.kernel.settings import load
from cairn.kernel.store.migrations import check, check_columns, upgrade
from cairn.kernel.store.opening import connected
from cairn.testing.mariadb import shared_server


def test_scripts_and_records_agree(tmp_path: Path) -> None:
    loaded = load_plugins(load({}))
    database = tmp_path / "cairn.db"
    upgrade(database, migration_folders(loaded))
    assert check(database, make_schema(loaded)) == []


def test_scripts_and_records_agree_on_mariadb() -> None:
    """Defaults apart, which rows of before were given, and which of two types a long text has."""
    loaded, server = load_plugins(load({})), shared_server()
    migrated = server.url(server.create())
    schema = make_schema(loaded)
    upgrade(migrated, migration_folders(loaded))
    check_columns(migrated, schema)
    declared = server.driver(schema)
    by_script, by_record = _tables(migrated), _tables(server.url(declared.address.database))
    declared.close()
    assert {name for name in by_script if not name.startswith(("alembic_version_", "migration_"))} == set(by_record)
    assert {name: by_script[name] ^ lines for name, lines in by_record.items() if by_script[name] != lines} == {}


def _tables(url: str) -> dict[str, set[str]]:
    """What each table is made of, as the server tells it, a line each."""
    found: dict[str, set[str]] = {}
    with connected(url) as connection:
        for name in connection.columns():
            ((_, text),) = connection.fetch(f"SHOW CREATE TABLE {name}", ())
            lines = str(text).splitlines()[1:-1]
            plain = (re.sub(r" DEFAULT (?!NULL)\S+", "", line.strip(" ,")) for line in lines)
            found[name] = {line.replace("mediumtext", "longtext") for line in plain}
    return found
