"""Events are read in the order of commits, by any node, whichever node has written them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cairn.kernel.clock import SystemClock
from cairn.kernel.event import EventCursor, EventDelivery, EventRow
from cairn.kernel.event.log import EventLog
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.mariadb import shared_server

SCHEMA = Schema([EventRow, EventCursor, EventDelivery])
EACH = 400


@pytest.fixture
async def nodes() -> AsyncIterator[list[Store]]:
    """Three nodes' stores of one database."""
    driver = shared_server().driver(SCHEMA, None)
    made = [await Store.over(driver, SCHEMA, SystemClock()) for _ in range(3)]
    yield made
    for store in made:
        await store.close()


async def test_reader_that_goes_on_behind_what_it_has_seen_misses_nothing(nodes: list[Store]) -> None:
    log = EventLog(nodes[0])
    seen: list[EventRow] = []

    async def read() -> None:
        after = 0
        while len(seen) < EACH * len(nodes):
            page = await log.page(after)
            seen.extend(page.rows)
            after = page.upto

    def emit(node: int, number: int, tx: Tx) -> None:
        name = f"node.{node}-{number}"
        tx.insert(EventRow(name=name, resource_uuid=str(node), content={"number": number}, create_date=tx.now))

    async def write(node: int) -> None:
        for begin in range(0, EACH, 8):
            await asyncio.gather(
                *(nodes[node].write(lambda tx, n=n: emit(node, n, tx)) for n in range(begin, begin + 8))  # type: ignore[misc]
            )

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(node) for node in range(len(nodes))))
    async with asyncio.timeout(10):
        await reading
    assert [row.sequence for row in seen] == list(range(1, EACH * len(nodes) + 1))
    for node in range(len(nodes)):
        assert [row.content["number"] for row in seen if row.resource_uuid == str(node)] == list(range(EACH))
