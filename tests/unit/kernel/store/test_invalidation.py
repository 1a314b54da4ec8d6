from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, ClassVar

import pytest
from sqlalchemy import bindparam, delete, update

from cairn.kernel.store.invalidation import MOST_KEYS, Invalidation
from cairn.kernel.store.record import Key, Record, References, TableMeta, table_of
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock


class Room(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="room", remembered=True)

    uuid: Annotated[str, Key()]
    name: str = ""


class Machine(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="machine", remembered=frozenset({"status", "address"}))

    uuid: Annotated[str, Key()]
    status: str = ""
    address: str = ""
    free: int = 0


class Door(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="door", remembered=True)

    uuid: Annotated[str, Key()]
    room_uuid: Annotated[str, References("room", on_delete="cascade")]


class Note(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="note")

    uuid: Annotated[str, Key()]
    text: str = ""


_machine = table_of(Machine)
_CLAIM = update(_machine).values(free=_machine.c.free - bindparam("need"))
_LOSE = update(_machine).values(status="lost", free=0)
_CLEAR = delete(_machine).where(_machine.c.free < bindparam("below"))
Fn = Callable[[Tx], object]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await Store.memory(Schema([Room, Machine, Door, Note, Invalidation]), VirtualClock(), inline=True)

    def fn(tx: Tx) -> None:
        tx.insert_many([Room(uuid="r1"), Room(uuid="r2"), Machine(uuid="m1"), Machine(uuid="m2"), Note(uuid="n")])
        tx.insert(Door(uuid="d", room_uuid="r1"))

    await made.write(fn)
    yield made
    await made.close()


async def told(store: Store, *functions: Fn) -> list[tuple[str, str | None]]:
    """What the functions, a transaction each, have other nodes forget."""
    await store.write(lambda tx: tx.delete_where(Invalidation))
    for function in functions:
        await store.write(function)
    rows = await store.read(lambda tx: tx.find(Invalidation, order_by="sequence"))
    return [(row.table_name, row.row_id) for row in rows]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tx: tx.insert(Room(uuid="r3")), [("room", "r3")]),
        (lambda tx: tx.insert_many([Room(uuid="r3"), Room(uuid="r4")]), [("room", "r3"), ("room", "r4")]),
        (lambda tx: tx.update(Room, "r1", name="x"), [("room", "r1")]),
        (lambda tx: tx.update_where(Room, {"uuid": ["r1", "r2"]}, name="x"), [("room", "r1"), ("room", "r2")]),
        (lambda tx: tx.update_where(Room, {"name": ""}, name="x"), [("room", None)]),
        (lambda tx: tx.delete(Room, "r2"), [("door", None), ("room", "r2")]),
        (lambda tx: tx.delete_where(Door, room_uuid="r1"), [("door", None)]),
        (lambda tx: tx.update(Machine, "m1", status="lost"), [("machine", "m1")]),
        (lambda tx: tx.execute(_LOSE), [("machine", None)]),
        (lambda tx: tx.execute(_CLEAR, {"below": 1}), [("machine", None)]),
        (lambda tx: tx.tell(Note, "n"), [("note", "n")]),
    ],
)
async def test_what_is_changed_of_a_remembered_record_is_told(
    store: Store, change: Fn, expected: list[tuple[str, str | None]]
) -> None:
    assert await told(store, change) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda tx: tx.update(Room, "none", name="x"),
        lambda tx: tx.delete(Machine, "none"),
        lambda tx: tx.insert(Machine(uuid="m3")),  # nobody remembers what was not there
        lambda tx: tx.update(Machine, "m1", free=7),
        lambda tx: tx.execute(_CLAIM, {"need": 1}),
        lambda tx: tx.update(Note, "n", text="x"),
        lambda tx: tx.insert(Note(uuid="o")),
    ],
)
async def test_what_changes_nothing_that_is_remembered_costs_no_row(store: Store, change: Fn) -> None:
    assert await told(store, change) == []


async def test_what_one_transaction_changes_is_told_once_and_many_rows_as_one(store: Store) -> None:
    def often(tx: Tx) -> None:
        for number in range(3):
            tx.update(Room, "r1", name=str(number))
        tx.insert_many(Machine(uuid=f"x{number}") for number in range(3))

    def many(tx: Tx) -> None:
        tx.insert_many(Room(uuid=f"x{number}") for number in range(MOST_KEYS + 1))

    assert await told(store, often, many) == [("room", "r1"), ("room", None)]


async def test_what_is_taken_back_is_not_told(store: Store) -> None:
    def change_and_fail(tx: Tx) -> None:
        tx.update(Room, "r1", name="x")
        raise ValueError

    async def failing() -> None:
        with pytest.raises(ValueError):
            await store.write(change_and_fail)

    await failing()
    assert await told(store) == []
    assert await told(store, lambda tx: tx.update(Room, "r2", name="x")) == [("room", "r2")]
