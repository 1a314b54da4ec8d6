from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, ClassVar, cast

import pytest
from tests.unit.kernel.store.shared import ManyWriters, changes_in_order, open_shared

from cairn.kernel.error import CairnError
from cairn.kernel.store.group import NoMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.line import Line as WayToDatabase
from cairn.kernel.store.numbering import CommitSequence
from cairn.kernel.store.record import Key, Record, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock


class Line(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="line")

    number: Annotated[int, Key(auto=True, in_commit_order=True)] = 0
    text: str


class Page(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="page")

    number: Annotated[int, Key(auto=True, in_commit_order=True)] = 0
    text: str


class Plain(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="plain")

    uuid: Annotated[str, Key()]


SCHEMA = Schema([Line, Page, Plain])


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[list[Store]]:
    """Two nodes' stores of one database."""
    made = [await open_shared(tmp_path / "db", SCHEMA, VirtualClock()) for _ in range(2)]
    yield made
    for store in made:
        await store.close()


async def lines(store: Store) -> list[tuple[int, str]]:
    return [(row.number, row.text) for row in await store.read(lambda tx: tx.find(Line, order_by="number"))]


def add(*texts: str) -> Callable[[Tx], None]:
    return lambda tx: tx.insert_many([Line(text=text) for text in texts])


def some_of_all(tx: Tx) -> None:
    tx.insert(Page(text="p"))
    tx.insert(Line(text="l"))
    tx.insert(Plain(uuid=f"{tx.now}"))
    tx.insert(Line(text="m"))


async def test_numbers_follow_the_commits_of_all_writers_without_a_gap(stores: list[Store]) -> None:
    def add_and_fail(tx: Tx) -> None:
        add("never")(tx)
        raise ValueError

    one, other = stores
    await one.write(add("a"))
    await other.write(add("b", "c"))
    with pytest.raises(ValueError):
        await one.write(add_and_fail)
    await one.write(add("d"))

    assert await lines(other) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


async def test_numbers_are_taken_last_and_log_by_log_always_in_the_same_order(stores: list[Store]) -> None:
    """Else two transactions, each with a lock that the other waits for, could wait for each other."""
    await stores[0].write(some_of_all)
    with changes_in_order() as changes:
        await stores[0].write(some_of_all)

    counted = "UPDATE commit_sequence"
    assert changes == ["INSERT plain", counted, "INSERT line", counted, "INSERT page"]


@pytest.mark.parametrize("counter", [None, 2])
async def test_numbers_go_on_behind_rows_that_came_from_elsewhere(stores: list[Store], counter: int | None) -> None:
    """As from a dump of a database that numbers by itself; a counter of an earlier time is lifted."""

    def restore(tx: Tx) -> None:
        tx.fetch("INSERT INTO line (number, text) VALUES (7, 'old')", [])
        if counter is not None:
            tx.insert(CommitSequence(name="line", value=counter))

    await stores[0].write(restore)
    await stores[0].write(add("a", "b"))
    await stores[1].write(add("c"))

    assert await lines(stores[0]) == [(7, "old"), (8, "a"), (9, "b"), (10, "c")]


async def test_a_first_use_that_is_taken_back_is_begun_again(stores: list[Store]) -> None:
    await stores[0].write(lambda tx: tx.fetch("INSERT INTO line (number, text) VALUES (7, 'old')", []))
    with pytest.raises(CairnError) as caught:
        await stores[0].write(lambda tx: tx.insert(Line(text=cast("str", None))))
    assert caught.value.code == "store.null"
    await stores[0].write(add("a"))

    assert await lines(stores[0]) == [(7, "old"), (8, "a")]


class World:
    """Functions that wait together, and share a commit."""

    def __init__(self, driver: SqliteDriver) -> None:
        self.line = WayToDatabase(driver, read_only=False)
        self.runner = TransactionRunner(driver, SCHEMA, VirtualClock(), NoMetrics())
        for statement in ("line (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",):
            self.line.connection().execute(f"CREATE TABLE {statement}", ())
        self.line.connection().execute("CREATE TABLE commit_sequence (name TEXT PRIMARY KEY, value INTEGER)", ())

    def write(self, *functions: Callable[[Tx], object]) -> list[WorkItem[object]]:
        calls = [WorkItem(function, None) for function in functions]
        waiting = iter(calls[1:])
        assert self.runner.write(self.line, calls[0], lambda: next(waiting, None)) == calls
        return calls

    def texts(self) -> list[object]:
        return [row[0] for row in self.line.connection().fetch("SELECT text FROM line ORDER BY number", ())]


@pytest.fixture(params=[SqliteDriver, ManyWriters])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param(tmp_path / "db"))


def test_rows_of_all_that_share_a_commit_are_one_statement(world: World) -> None:
    world.write(add("first"))
    with changes_in_order() as changes:
        world.write(add("a"), add("b", "c"), add("d"))

    assert changes.count("INSERT line") == 1
    assert len(changes) == (1 if world.runner.driver.one_writer else 2)
    assert world.texts() == ["first", "a", "b", "c", "d"]


def test_a_row_that_cannot_be_written_fails_its_own_function_alone(world: World) -> None:
    bad = Line(text=cast("str", None))
    good, failed, last = world.write(add("a"), lambda tx: tx.insert(bad), add("b"))

    assert (good.error, last.error) == (None, None)
    assert isinstance(failed.error, CairnError)
    assert failed.error.code == "store.null"
    assert world.texts() == ["a", "b"]
