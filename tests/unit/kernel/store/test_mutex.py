from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.store import Schema, Store, Tx
from cairn.kernel.store.mutex import Mutex, hold
from cairn.testing.clock import VirtualClock
from cairn.testing.overtaking import Function, anomalies


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await Store.memory(Schema([*sample.schema().records, Mutex]), VirtualClock(), inline=True)
    yield made
    await made.close()


def open_the_only(number: int) -> Function:
    """A zone is opened unless another one is: what that goes by is not there to be locked."""

    def fn(tx: Tx) -> None:
        hold(tx, "zone.only")
        if not tx.count(Zone, open=True):
            tx.insert(zone(number))

    return fn


async def test_a_name_is_held_by_one_at_a_time_also_when_it_is_held_for_the_first_time(store: Store) -> None:
    assert anomalies(store, lambda: (open_the_only(1), open_the_only(2))) == []

    await store.write(lambda tx: hold(tx, "zone.only"))

    assert anomalies(store, lambda: (open_the_only(1), open_the_only(2))) == []
    assert anomalies(store, lambda: (open_the_only(1), open_the_only(2)), locking=False) != []


async def test_a_name_can_be_held_again_and_again_and_others_too(store: Store) -> None:
    def both(tx: Tx) -> None:
        for name in ("a", "b", "a"):
            hold(tx, name)

    await store.write(both)
    await store.write(both)
    assert [row.name for row in await store.read(lambda tx: tx.find(Mutex, order_by="name"))] == ["a", "b"]
