from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

import pytest

from cairn.kernel import jobs, resource
from cairn.kernel.job import Job
from cairn.kernel.resource import FormerUuid
from cairn.kernel.retention import BITE, Old, remove, up_to
from cairn.kernel.store.record import Index, Key, Record, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.services.identity import sessions
from cairn.services.identity.model import Account, Session
from cairn.testing.clock import VirtualClock


class Note(Record, frozen=True, kw_only=True):
    """Something with an end, or without."""

    meta: ClassVar[TableMeta] = TableMeta(table="note")

    uuid: Annotated[str, Key()]
    end: Annotated[datetime | None, Index()] = None


OLD = up_to(Note, "end")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await Store.memory(Schema([Note, Job, Account, Session, FormerUuid]), VirtualClock(), inline=True)
    yield made
    await made.close()


async def test_only_what_is_old_is_removed(store: Store) -> None:
    now = VirtualClock().now()
    notes = [Note(uuid="old", end=now), Note(uuid="young", end=now + timedelta(seconds=1)), Note(uuid="endless")]
    await store.write(lambda tx: tx.insert_many(notes))

    assert await remove(store, OLD, now) == 1
    assert await remove(store, OLD, now) == 0

    assert {note.uuid for note in await store.read(lambda tx: tx.find(Note))} == {"young", "endless"}


async def test_each_bite_is_a_transaction_and_others_come_in_between(store: Store) -> None:
    now = VirtualClock().now()
    count = 3 * BITE + 1
    notes = [Note(uuid=str(number), end=now - timedelta(days=1)) for number in range(count)]
    await store.write(lambda tx: tx.insert_many(notes))
    left: list[int] = []

    async def watch() -> None:
        while not left or left[-1]:
            left.append(await store.write(lambda tx: tx.count(Note)))
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())

    assert await remove(store, OLD, now) == count

    await watcher
    assert {count - BITE, count - 2 * BITE, 1, 0} <= set(left)


STATEMENTS = {"note": OLD, "job": jobs._OLD, "session": sessions._EXPIRED, "former uuid": resource._OLD_FORMER}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_nothing_is_looked_at_but_what_is_removed(store: Store, statement: Old) -> None:
    def plan(tx: Tx) -> list[str]:
        sql, values = tx._statements.compiled(statement.keys).bind({"date": tx.now})
        return [str(row[3]) for row in tx.fetch(f"EXPLAIN QUERY PLAN {sql}", values)]

    steps = await store.read(plan)

    assert any(step.startswith("SEARCH") and "INDEX" in step and "<?" in step for step in steps), steps
    assert not any(step.startswith("SCAN") or "TEMP B-TREE" in step for step in steps), steps
