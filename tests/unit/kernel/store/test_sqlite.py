from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn.kernel.store.driver import Connection, Trouble
from cairn.kernel.store.sqlite import SqliteDriver


@pytest.fixture
def driver(tmp_path: Path) -> SqliteDriver:
    return SqliteDriver(tmp_path / "cairn.db")


@pytest.fixture
def writer(driver: SqliteDriver) -> Iterator[Connection]:
    connection = driver.connect(read_only=False)
    connection.execute("CREATE TABLE house (name TEXT PRIMARY KEY, owner TEXT NOT NULL)", ())
    connection.execute("CREATE TABLE room (house TEXT REFERENCES house (name))", ())
    yield connection
    connection.close()


def names(connection: Connection) -> list[object]:
    return [row[0] for row in connection.fetch("SELECT name FROM house ORDER BY name", ())]


def build(connection: Connection, name: str) -> None:
    assert connection.execute("INSERT INTO house VALUES (?, 'cat')", (name,)) == 1


def test_what_was_rolled_back_to_a_savepoint_is_gone_and_the_rest_stays(writer: Connection) -> None:
    writer.begin()
    build(writer, "a")
    writer.savepoint()
    build(writer, "b")
    writer.rollback_to_savepoint()
    writer.savepoint()
    build(writer, "c")
    writer.release()
    assert writer.in_transaction
    writer.commit()
    assert names(writer) == ["a", "c"]
    assert not writer.in_transaction


def test_rolling_back_is_safe_without_a_transaction(writer: Connection) -> None:
    writer.rollback()
    writer.begin()
    build(writer, "a")
    writer.rollback()
    writer.rollback()
    assert names(writer) == []


def test_a_reader_sees_what_was_committed_when_it_began_and_can_change_nothing(
    driver: SqliteDriver, writer: Connection
) -> None:
    build(writer, "a")
    reader = driver.connect(read_only=True)
    reader.begin()
    assert names(reader) == ["a"]
    build(writer, "b")
    assert names(reader) == ["a"]
    reader.rollback()
    assert names(reader) == ["a", "b"]
    with pytest.raises(sqlite3.OperationalError) as caught:
        build(reader, "c")
    assert driver.trouble(caught.value) == (Trouble.READ_ONLY, str(caught.value))
    reader.close()


def test_every_commit_of_a_file_is_flushed_and_none_in_memory(driver: SqliteDriver, writer: Connection) -> None:
    assert writer.fetch_one("PRAGMA synchronous", ()) == (2,)
    assert writer.fetch_one("PRAGMA journal_mode", ()) == ("wal",)
    private = SqliteDriver(None).connect(read_only=False)
    assert private.fetch_one("PRAGMA synchronous", ()) == (0,)
    private.close()


@pytest.mark.parametrize(
    ("sql", "trouble", "about"),
    [
        ("INSERT INTO house VALUES ('a', 'dog')", Trouble.DUPLICATE, "house.name"),
        ("INSERT INTO house VALUES ('b', NULL)", Trouble.NULL, "house.owner"),
        ("INSERT INTO room VALUES ('gone')", Trouble.REFERENCE, ""),
        ("SELECT nonsense", Trouble.OTHER, "no such column: nonsense"),
    ],
)
def test_trouble_is_told_by_its_kind_and_what_it_is_about(
    driver: SqliteDriver, writer: Connection, sql: str, trouble: Trouble, about: str
) -> None:
    build(writer, "a")
    with pytest.raises(sqlite3.Error) as caught:
        writer.execute(sql, ())
    assert driver.trouble(caught.value) == (trouble, about)


def test_a_number_that_no_column_holds_is_trouble_and_other_errors_are_not(
    driver: SqliteDriver, writer: Connection
) -> None:
    with pytest.raises(OverflowError) as caught:
        writer.execute("INSERT INTO house VALUES (?, 'cat')", (1 << 70,))
    assert driver.trouble(caught.value) == (Trouble.OTHER, str(caught.value))
    assert driver.trouble(ValueError("x")) is None


def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, and long enough to be read as the head of one" * 20)
    driver = SqliteDriver(tmp_path / "x.db")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        driver.connect(read_only=False)
    found = driver.trouble(caught.value)
    assert found is not None
    assert found[0] is Trouble.BROKEN


def test_content_of_one_is_what_another_begins_with() -> None:
    first = SqliteDriver(None).connect(read_only=False)
    first.execute("CREATE TABLE house (name TEXT, owner TEXT)", ())
    build(first, "a")
    second = SqliteDriver(None, content=first.content()).connect(read_only=False)
    build(second, "b")
    assert (names(first), names(second)) == (["a"], ["a", "b"])
    first.close()
    second.close()


def test_a_shared_private_database_is_seen_by_all_connections_and_gone_when_closed() -> None:
    driver = SqliteDriver(None, shared=True)
    first, second = driver.connect(read_only=False), driver.connect(read_only=True)
    first.execute("CREATE TABLE house (name TEXT, owner TEXT)", ())
    assert first.execute_many("INSERT INTO house VALUES (?, 'cat')", [("a",), ("b",)]) == 2
    first.optimize()
    assert names(second) == ["a", "b"]
    file = Path(str(second.fetch_one("PRAGMA database_list", ())[2]))  # type: ignore[index]
    assert file.exists()
    first.close()
    second.close()
    driver.close()
    assert not file.exists()


def test_what_there_is_of_tables_and_numbers_is_told(tmp_path: Path) -> None:
    connection = SqliteDriver(tmp_path / "a.db").connect(read_only=False)
    assert (connection.columns(), connection.last_numbers(), connection.damage()) == ({}, {}, [])
    connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)", ())
    connection.execute("INSERT INTO log (text) VALUES ('a'), ('b')", ())
    connection.execute("DELETE FROM log WHERE number = 2", ())

    assert connection.columns() == {"log": {"number", "text"}}
    assert connection.last_numbers() == {"log": 2}
    assert connection.damage() == []
    connection.close()
