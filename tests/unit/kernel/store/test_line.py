from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cairn.kernel.store.driver import Connection
from cairn.kernel.store.line import Line
from cairn.kernel.store.sqlite import SqliteConnection, SqliteDriver

TROUBLE = sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def driver(tmp_path: Path) -> SqliteDriver:
    return SqliteDriver(tmp_path / "a?b#c%20 d.db")


def test_connection_is_kept_until_it_is_dropped_and_then_opened_anew(driver: SqliteDriver) -> None:
    line = Line(driver, read_only=False)
    first = line.connection()
    assert line.connection() is first
    first.execute("CREATE TABLE kept (name TEXT)", ())
    first.begin()
    first.execute("INSERT INTO kept VALUES ('never committed')", ())
    line.drop(TROUBLE)
    assert line.trouble is TROUBLE

    second = line.connection()
    assert second is not first
    assert second.fetch("SELECT count(*) FROM kept", ()) == [(0,)]
    line.worked()
    assert line.trouble is None
    line.close()
    line.close()


def test_connection_that_cannot_even_be_closed_is_dropped_all_the_same(
    driver: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(driver, read_only=True)

    def fail(self: Connection) -> None:
        raise TROUBLE

    with monkeypatch.context() as broken:
        broken.setattr(SqliteConnection, "close", fail)
        line.drop(TROUBLE)
    assert line.connection().fetch("SELECT 1", ()) == [(1,)]
    line.close()


def test_trouble_is_logged_once_while_it_lasts(driver: SqliteDriver) -> None:
    line = Line(driver, read_only=False)
    with capture_logs() as logged:
        line.drop(TROUBLE)
        line.drop(TROUBLE)
        line.worked()
        line.drop(TROUBLE)
    assert [one["event"] for one in logged] == ["store.connection-failed"] * 2


def test_file_that_was_taken_away_does_not_come_back_empty(driver: SqliteDriver, tmp_path: Path) -> None:
    line = Line(driver, read_only=False)
    line.drop(TROUBLE)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        line.connection()
    assert list(tmp_path.iterdir()) == []


def test_private_database_in_memory_is_kept_whatever_happens() -> None:
    line = Line(SqliteDriver(None), read_only=False)
    connection = line.connection()
    line.drop(TROUBLE)
    assert line.connection() is connection
    line.close()
