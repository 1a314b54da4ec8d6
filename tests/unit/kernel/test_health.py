from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from cairn.kernel.health import Audit, Finding, Health, behind, damaged, missing, unknown
from cairn.kernel.job import Job
from cairn.kernel.resource import Resource, write
from cairn.kernel.store import Key, References, Schema, Store, SubType, TableMeta, Tx, Visible
from cairn.kernel.store.record import Named, Record, Sealed
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sealing import SealedColumn
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.kernel.store.transaction import reading
from cairn.testing.clock import START, VirtualClock


class Ship(Named, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="ship", entity="Ship", visible=Visible.ADMIN)

    type: str
    code: Annotated[str | None, Sealed()] = None
    chart: Annotated[bytes | None, Sealed()] = None
    create_date: datetime = START
    last_op_date: datetime = START


class Steamer(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="steamer",
        entity="Steamer",
        visible=Visible.ADMIN,
        extends=SubType(parent=Ship, column="type", value="Steam"),
    )

    uuid: Annotated[str, Key()]
    boilers: int


class Sailor(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="sailor")

    uuid: Annotated[str, Key()]
    ship_uuid: Annotated[str | None, References(Ship)] = None


SCHEMA = Schema([Ship, Steamer, Sailor, Resource, Job, SealedColumn])
SEALS = Seals.ephemeral()


def crewed(tx: Tx) -> Iterator[str]:
    for sailor in tx.find(Sailor, ship_uuid=None, order_by="uuid"):
        yield f"The sailor {sailor.uuid} has no ship."


AUDITS = (Audit("crews", "Give him one.", crewed),)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A fleet that is as it should be."""

    def fill(tx: Tx) -> None:
        write(tx, Ship(uuid="s1", name="Ann", type="Steam", code="secret", chart=b"secret"))
        tx.insert(Steamer(uuid="s1", boilers=2))
        write(tx, Ship(uuid="s2", name="Bob", type="Sail"))
        tx.insert(Sailor(uuid="p1", ship_uuid="s1"))
        tx.insert(Resource(uuid="coming", type="Ship", name="", job_uuid="j1", create_date=START))
        tx.insert(Job(uuid="j1", api="x", tag="x", request=b"{}", digest="", timeout_seconds=1.0, create_date=START))

    store = await Store.open(tmp_path / "a.db", SCHEMA, VirtualClock(), inline=True, create_tables=True, seals=SEALS)
    await store.write(fill)
    await store.close()
    return tmp_path / "a.db"


def change(path: Path, *statements: str) -> None:
    """What somebody does behind cairn's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def looked(path: Path, seals: Seals = SEALS, audits: Sequence[Audit] = AUDITS) -> list[Finding]:
    driver = SqliteDriver(path)
    with closing(driver.connect(read_only=True)) as connection:
        found = damaged(connection) + unknown(connection, driver, SCHEMA)
    with reading(driver, SCHEMA, seals) as (connection, tx):
        checks = Health(connection, driver, SCHEMA, seals).checks(tx, audits)
        return found + [finding for _, findings in checks for finding in findings]


def test_nothing_is_found_where_all_is_well(path: Path) -> None:
    assert looked(path) == []


@pytest.mark.parametrize(
    ("statement", "check", "what"),
    [
        ("UPDATE sailor SET ship_uuid = 'gone'", "references", "sailor p1: ship_uuid points to ship gone"),
        ("UPDATE sailor SET ship_uuid = NULL", "crews", "The sailor p1 has no ship."),
        ("DELETE FROM steamer", "subtypes", "ship s1 is of the type Steam, and has no row in steamer."),
        ("DELETE FROM resource WHERE uuid = 's2'", "resources", "ship s2 has no row in resource"),
        ("DELETE FROM ship WHERE uuid = 's2'", "resources", "The ship s2 is known as a resource, and is not there"),
        ("UPDATE job SET finish_date = 1", "resources", "The ship coming is known as a resource"),
        ("DELETE FROM job", "resources", "The ship coming is known as a resource"),
        ("UPDATE ship SET code = 'clear' WHERE uuid = 's1'", "secrets", "ship s1: A value of ship.code lies"),
        ("UPDATE ship SET chart = x'00' WHERE uuid = 's1'", "secrets", "ship s1: A value of ship.chart lies"),
    ],
)
def test_what_was_done_behind_our_back_is_found_with_what_to_do(
    path: Path, statement: str, check: str, what: str
) -> None:
    change(path, statement)

    (finding,) = looked(path)

    assert finding.check == check
    assert what in finding.what
    assert len(finding.do) > 10


def test_a_row_whose_subtype_has_lost_its_parent_dangles(path: Path) -> None:
    change(path, "DELETE FROM ship WHERE uuid = 's1'")
    assert {"steamer s1: uuid points to ship s1, which is not there."} < {one.what for one in looked(path)}


def test_a_secret_is_told_to_nobody_and_without_its_key_is_found(path: Path) -> None:
    found = looked(path, Seals.ephemeral())

    assert {one.check for one in found} == {"secrets"}
    assert [one.what.split(":")[0] for one in found] == ["ship s1", "ship s1", "job j1"]
    assert all("secret.key" not in one.what and "seal1:" not in one.what for one in found)


def test_a_table_that_nobody_knows_is_told_of_if_it_has_rows(path: Path) -> None:
    change(path, "CREATE TABLE boats (uuid TEXT)", "CREATE TABLE alembic_version_x (version_num TEXT)")
    assert looked(path) == []

    change(path, "INSERT INTO boats VALUES ('b')", "INSERT INTO alembic_version_x VALUES ('x')")

    assert [one.what for one in looked(path)] == ["The table boats has rows, and nothing that is loaded knows it."]


def test_a_file_that_is_damaged_is_found(path: Path) -> None:
    change(path, "PRAGMA journal_mode=DELETE")
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 4096):
            file.seek(4096 * page + 8)
            file.write(b"\xff" * 16)

    assert looked_or_broken(path)


def looked_or_broken(path: Path) -> bool:
    """Whether the damage is said: as a finding, or by the database that cannot go on."""
    try:
        return any(one.check == "database" for one in looked(path))
    except sqlite3.DatabaseError:
        return True


def test_of_each_kind_some_are_told(path: Path) -> None:
    change(path, *(f"INSERT INTO sailor VALUES ('x{number:03}', NULL)" for number in range(100)))
    assert len(looked(path)) == 20


def test_tables_and_columns_that_are_missing_are_told_before_anything_is_looked_at(path: Path) -> None:
    change(path, "DROP TABLE sailor", "ALTER TABLE steamer DROP COLUMN boilers")
    with reading(SqliteDriver(path), SCHEMA, SEALS) as (connection, _):
        found = missing(connection, SCHEMA)
    assert [one.what for one in found] == ["steamer: boilers is missing.", "sailor: ship_uuid, uuid are missing."]


def test_scripts_that_were_not_run_are_told() -> None:
    assert behind({"cairn": "cairn_0002"}, {"cairn": "cairn_0002"}) == []
    found = behind({"cairn": "cairn_0001"}, {"cairn": "cairn_0002", "audit": "audit_0001"})
    assert [one.what for one in found] == [
        "audit: the database is at no script, and this cairn's newest is audit_0001.",
        "cairn: the database is at cairn_0001, and this cairn's newest is cairn_0002.",
    ]
