from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.kernel.sample import Volume, Zone, zone
from tests.unit.kernel.store.shared import open_shared, reads

from cairn.kernel.store import Schema, Store, Tx
from cairn.kernel.store.invalidation import Invalidation
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


async def test_a_record_that_does_not_say_that_it_is_remembered_is_refused() -> None:
    with pytest.raises(TypeError, match="Volume must say"):
        Remembered(lambda tx, _: 0, (Zone, Volume))


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[VirtualClock, Store, Store]]:
    clock = VirtualClock()
    one, other = [await open_shared(tmp_path / "db", Schema([Zone, Invalidation]), clock) for _ in range(2)]
    yield clock, one, other
    await one.close()
    await other.close()


async def test_what_another_node_has_changed_is_seen_in_the_next_transaction(
    nodes: tuple[VirtualClock, Store, Store],
) -> None:
    clock, one, other = nodes
    names = Names()
    assert await one.write(names.get) == await one.write(names.get) == []
    assert names.looks == 1
    for number in range(1, 4):
        await other.write(lambda tx, number=number: tx.insert(zone(number)))  # type: ignore[misc]
        assert len(await one.write(names.get)) == number
    await one.write(names.get)
    assert names.looks == 4
    assert clock.monotonic() == 0


async def test_a_node_that_has_missed_rows_that_were_cleaned_away_looks_again(
    nodes: tuple[VirtualClock, Store, Store],
) -> None:
    _, one, other = nodes
    names = Names()
    await one.write(names.get)
    await other.write(lambda tx: tx.insert(zone(1)))
    await other.write(lambda tx: tx.tell(Volume, "v"))  # the newest row stays, of whatever
    await other.write(lambda tx: tx.delete_where(Invalidation, table_name="zone"))

    assert len(await one.write(names.get)) == 1


async def test_who_has_waited_in_the_middle_of_a_transaction_can_have_it_learn_anew(
    nodes: tuple[VirtualClock, Store, Store],
) -> None:
    _, one, _ = nodes
    names = Names()

    def twice(tx: Tx) -> None:
        names.get(tx)
        tx.changes.hear_anew()
        names.get(tx)

    await one.write(names.get)
    with reads() as texts:
        await one.write(twice)
    assert sum("FROM invalidation" in text for text in texts) == 2


async def test_a_node_is_told_once_for_all_functions_that_share_a_commit(
    nodes: tuple[VirtualClock, Store, Store],
) -> None:
    _, one, _ = nodes
    names = Names()

    def often(tx: Tx) -> None:
        for _ in range(5):
            names.get(tx)

    await one.write(often)
    with reads() as texts:
        await one.write(often)
    assert sum("FROM invalidation" in text for text in texts) == 1
