from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.kernel import sample

from cairn.kernel.store.mariadb import MariadbDriver
from cairn.kernel.store.opening import connected, driver_at, exists
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.testing.mariadb import shared_server


def test_a_path_is_opened_by_sqlite_and_an_address_by_mariadb(tmp_path: Path) -> None:
    assert isinstance(driver_at(tmp_path / "s.db"), SqliteDriver)
    assert isinstance(driver_at(shared_server().address("mysql")), MariadbDriver)


def test_a_file_may_be_missing_and_a_server_is_asked(tmp_path: Path) -> None:
    assert not exists(tmp_path / "s.db")
    (tmp_path / "s.db").touch()
    assert exists(tmp_path / "s.db")
    assert exists(shared_server().url("nowhere"))


@pytest.mark.parametrize("server", [False, True])
def test_a_connection_tells_tables_and_columns_and_ends_with_its_block(tmp_path: Path, server: bool) -> None:
    url = shared_server().url(shared_server().create()) if server else str(tmp_path / "s.db")
    with connected(url) as connection:
        for statement in driver_at(shared_server().address("mysql") if server else tmp_path / "s.db").tables(
            sample.schema()
        ):
            connection.execute(statement, ())
        assert connection.columns()["entry"] == {"number", "text"}
        assert connection.references()["host"] == {"zone"}
        connection.leave_no_traces()
        connection.remove_traces()
        connection.begin()
        connection.execute("INSERT INTO entry (text) VALUES ('given up')", ())
    with connected(url, read_only=True) as connection:
        connection.begin()
        assert connection.fetch("SELECT count(*) FROM entry", ()) == [(0,)]


@pytest.mark.parametrize("server", [False, True])
def test_references_are_watched_unless_a_connection_is_told_not_to(tmp_path: Path, server: bool) -> None:
    url = shared_server().url(shared_server().create()) if server else str(tmp_path / "s.db")
    key = "VARCHAR(32) CHARACTER SET ascii" if server else "TEXT"
    with connected(url) as connection:
        connection.execute(f"CREATE TABLE owner (uuid {key} PRIMARY KEY)", ())
        connection.execute(
            f"CREATE TABLE thing (owner {key}, FOREIGN KEY (owner) REFERENCES owner (uuid) ON DELETE CASCADE)", ()
        )
        for name in ("a", "b"):
            connection.execute("INSERT INTO owner VALUES (?)", (name,))
            connection.execute("INSERT INTO thing VALUES (?)", (name,))

        connection.watch_references(False)
        connection.execute("DELETE FROM owner WHERE uuid = 'a'", ())
        connection.watch_references(True)
        connection.execute("DELETE FROM owner WHERE uuid = 'b'", ())

        assert connection.fetch("SELECT owner FROM thing", ()) == [("a",)]
