from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.unit.kernel.sample import Zone, zone

from cairn.kernel.invalidation import KEEP_SECONDS, Invalidations, Keys
from cairn.kernel.store import Schema, Store, Tx
from cairn.kernel.store.invalidation import Invalidation
from cairn.testing.clock import VirtualClock


def keys(*names: str) -> Keys:
    return frozenset(names)


class World:
    """Two nodes on one store, and what one of them hears."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.is_alone = False
        self.heard: list[Keys] = []
        self.errors: list[Exception] = []  #: raised at the next calls
        self.node = Invalidations(store, clock, lambda: self.is_alone)
        self.node.on(Zone, self._hear)

    async def _hear(self, keys: Keys) -> None:
        self.heard.append(keys)
        if self.errors:
            raise self.errors.pop()

    async def change(self, *numbers: int) -> None:
        for number in numbers:
            await self.store.write(self._insert(number))

    def _insert(self, number: int) -> Callable[[Tx], None]:
        return lambda tx: tx.insert(zone(number))

    async def rows(self) -> int:
        return await self.store.read(lambda tx: tx.count(Invalidation))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = VirtualClock()
    store = await Store.memory(Schema([Zone, Invalidation]), clock, inline=True)
    world = World(store, clock)
    await world.node.start()
    yield world
    await store.close()


async def test_a_node_hears_of_each_change_once_all_of_a_look_together(world: World) -> None:
    await world.change(1, 2)
    await world.node.look()
    await world.node.look()
    await world.change(3)
    await world.node.look()
    assert world.heard == [keys("z1", "z2"), keys("z3")]


async def test_a_node_that_begins_hears_of_what_is_changed_from_then_on(world: World) -> None:
    await world.change(1)
    late = World(world.store, world.clock)
    await late.node.start()
    await late.node.look()
    assert late.heard == []


async def test_what_is_changed_as_a_whole_is_told_without_keys(world: World) -> None:
    await world.change(1)
    await world.store.write(lambda tx: tx.update_where(Zone, {"name": "none"}, name="x"))
    await world.store.write(lambda tx: tx.delete_where(Zone))
    await world.node.look()
    assert world.heard == [None]


async def test_a_node_that_is_alone_reads_nothing_and_reads_on_when_it_is_not(world: World) -> None:
    world.is_alone = True
    await world.change(1)
    await world.node.look()
    assert world.heard == []
    world.is_alone = False
    await world.node.look()
    assert world.heard == [keys("z1")]


async def test_one_that_fails_is_told_again_and_the_others_are_told_all_the_same(world: World) -> None:
    others: list[Keys] = []
    world.node.on(Zone, others.append)
    world.errors = [OSError("no database")]
    await world.change(1)
    with pytest.raises(OSError):
        await world.node.look()
    await world.node.look()
    assert world.heard == [keys("z1"), keys("z1")]
    assert others == [keys("z1"), keys("z1")]


async def test_more_than_a_page_is_read_in_one_look(world: World) -> None:
    await world.change(*range(1, 2502))
    await world.node.look()
    assert len({key for some in world.heard for key in some or ()}) == 2501


async def test_old_rows_are_removed_but_for_the_newest_and_who_missed_some_forgets_everything(world: World) -> None:
    await world.change(1, 2)
    await world.clock.advance(KEEP_SECONDS + 1)
    await world.clock.run(world.node.clean())
    assert await world.rows() == 1
    await world.node.look()
    assert world.heard == [None]
    await world.change(3)
    await world.node.look()
    assert world.heard == [None, keys("z3")]


async def test_what_others_may_not_have_read_yet_is_kept(world: World) -> None:
    await world.change(1, 2)
    await world.clock.advance(KEEP_SECONDS - 1)
    await world.clock.run(world.node.clean())
    assert await world.rows() == 2
