from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Cli

from cairn.cli.errors import Exit
from cairn.kernel.membership import FolderLock


@pytest.fixture
def folder(environment: Path, cli: Cli) -> Iterator[Path]:
    """A data folder with a database that is up to date, and has a zone."""
    assert cli("db", "upgrade").code == Exit.OK
    change(
        environment / "data",
        "INSERT INTO zone (uuid, name, state, type, is_default, create_date, last_op_date) "
        "VALUES ('z', 'zone', 'Enabled', 'zstack', 0, 1, 1)",
        "INSERT INTO resource (uuid, type, name, create_date) VALUES ('z', 'Zone', 'zone', 1)",
    )
    yield environment / "data"


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "cairn.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(folder: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "cairn.db")) as connection:
        return sorted(connection.execute(f"SELECT * FROM {table}").fetchall())


def test_upgrade_makes_the_database_and_may_be_repeated(cli: Cli, folder: Path) -> None:
    ran = cli("db", "upgrade", "--json")

    told = json.loads(ran.out)
    assert ran.code == Exit.OK
    assert told["scripts"]["cairn"].startswith("cairn_")
    assert told["scripts"]["kvm"].startswith("kvm_")
    assert (folder / "secret.key").exists()


def test_check_finds_nothing_and_then_what_is_wrong_with_what_to_do(cli: Cli, folder: Path) -> None:
    assert cli("db", "check").code == Exit.OK
    change(folder, "UPDATE zone SET uuid = 'y'")

    ran = cli("db", "check", "--json")

    found = json.loads(ran.out)["findings"]
    assert ran.code == Exit.REFUSED
    assert {(one["check"], one["what"].split()[0]) for one in found} == {("resources", "zone"), ("resources", "The")}
    shown = cli("db", "check")
    assert "zone y has no row in resource" in shown.out
    assert "resources: 2 found" in shown.err


def test_check_says_when_scripts_were_not_run_and_makes_no_key(cli: Cli, folder: Path) -> None:
    (folder / "secret.key").unlink()
    change(folder, "DELETE FROM sealed_column", "UPDATE alembic_version_cairn SET version_num = 'cairn_0001'")

    ran = cli("db", "check")

    assert ran.code == Exit.REFUSED
    assert "cairn db upgrade" in ran.out
    assert not (folder / "secret.key").exists()
    assert cli("db", "dump", str(folder / "d")).code == Exit.REFUSED


def test_a_dump_restores_into_another_folder_with_the_key_file_and_not_without(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.search(r"has \d\d rows of \d tables", cli("db", "dump", str(tmp_path / "d.gz")).out)
    other = tmp_path / "other"
    monkeypatch.setenv("CAIRN_DATA_DIR", str(other))

    ran = cli("db", "restore", str(tmp_path / "d.gz"))
    assert ran.code == Exit.REFUSED
    assert "secret.key" in ran.err
    assert not (other / "cairn.db").exists()

    shutil.copy(folder / "secret.key", other / "secret.key")
    ran = cli("db", "restore", str(tmp_path / "d.gz"), "--json")

    assert ran.code == Exit.OK
    assert json.loads(ran.out)["rows"]["zone"] == 1
    for table in ("zone", "resource", "sealed_column"):
        assert rows(other, table) == rows(folder, table)
    assert cli("db", "check").code == Exit.OK


def test_a_database_with_rows_is_not_overwritten_unless_forced(cli: Cli, folder: Path, tmp_path: Path) -> None:
    cli("db", "dump", str(tmp_path / "d"))
    change(folder, "UPDATE zone SET name = 'changed'")

    assert "dump.not-empty" in cli("db", "restore", str(tmp_path / "d")).err
    assert rows(folder, "zone")[0][1] == "changed"
    ran = cli("db", "restore", str(tmp_path / "d"), "--force")
    assert ran.code == Exit.OK
    assert "Start the node" in ran.out
    assert rows(folder, "zone")[0][1] == "zone"


def test_a_damaged_file_changes_nothing(cli: Cli, folder: Path, tmp_path: Path) -> None:
    cli("db", "dump", str(tmp_path / "d"))
    text = (tmp_path / "d").read_bytes()
    (tmp_path / "d").write_bytes(text.replace(b'"zone",', b'"zune",'))
    before = rows(folder, "zone")

    ran = cli("db", "restore", str(tmp_path / "d"), "--force")

    assert "dump.damaged" in ran.err
    assert rows(folder, "zone") == before


def test_beside_a_node_it_is_looked_at_and_not_changed(cli: Cli, folder: Path, tmp_path: Path) -> None:
    lock = FolderLock(folder)
    try:
        assert cli("db", "check").code == Exit.OK
        assert cli("db", "dump", str(tmp_path / "d")).code == Exit.OK
        for words in (("upgrade",), ("restore", str(tmp_path / "d"), "--force")):
            assert cli("db", *words).code != Exit.OK
    finally:
        lock.release()


def test_without_a_database_there_is_nothing_to_look_at(cli: Cli, environment: Path) -> None:
    for words in (("check",), ("dump", str(environment / "d"))):
        assert "db.no-database" in cli("db", *words).err


def test_a_password_in_an_address_is_not_shown() -> None:
    from cairn.cli.database import shown

    assert shown("mysql://cairn:secret@db:3306/cairn") == "mysql://db:3306/cairn"
    assert shown("/var/lib/cairn/cairn.db") == "/var/lib/cairn/cairn.db"
