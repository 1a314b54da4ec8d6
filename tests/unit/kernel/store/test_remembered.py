from __future__ import annotations

import pytest
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.store import Schema, Store, Tx
from cairn.kernel.store.remembered import Remembered
from cairn.testing.clock import VirtualClock


class Names:
    """Looks up the names of all zones, and counts how often."""

    def __init__(self) -> None:
        self.looks = 0
        self.kept = Remembered(self._look, (Zone,))

    def _look(self, tx: Tx, _: None) -> list[str]:
        self.looks += 1
        return sorted(row.name for row in tx.find(Zone))

    def get(self, tx: Tx) -> list[str]:
        return self.kept.get(tx, None)


async def test_an_answer_is_kept_until_its_table_is_written_to() -> None:
    clock = VirtualClock()
    store = await Store.memory(Schema([Zone]), clock, inline=True)
    names = Names()
    assert await store.write(names.get) == []
    assert await store.write(names.get) == []
    assert names.looks == 1
    await store.write(lambda tx: tx.insert(zone(1)))
    assert len(await store.write(names.get)) == 1
    await clock.advance(1.5)
    await store.write(names.get)
    assert names.looks == 3
    await store.close()


async def test_what_was_taken_back_is_not_remembered() -> None:
    store = await Store.memory(Schema([Zone]), VirtualClock(), inline=True)
    names = Names()

    def insert_look_and_fail(tx: Tx) -> None:
        tx.insert(zone(1))
        assert len(names.get(tx)) == 1
        raise ValueError

    with pytest.raises(ValueError):
        await store.write(insert_look_and_fail)
    assert await store.write(names.get) == []
    await store.close()


async def test_a_read_looks_for_itself() -> None:
    store = await Store.memory(Schema([Zone]), VirtualClock(), inline=True)
    names = Names()
    await store.read(names.get)
    await store.read(names.get)
    assert names.looks == 2
    await store.close()
