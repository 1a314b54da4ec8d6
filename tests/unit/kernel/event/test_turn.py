from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from cairn.kernel.bus.transport import not_owner
from cairn.kernel.duty import Duties
from cairn.kernel.error import CairnError
from cairn.kernel.event import EventCursor
from cairn.kernel.event.turn import NotOursError, Turn, duty_of
from cairn.kernel.ids import NodeId
from cairn.kernel.ring import Ring
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock

NODES = [NodeId("a"), NodeId("b"), NodeId("c")]


class World:
    """Three nodes with lists of members of their own, and the epoch that the database has."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.epoch = 0
        self.rings = {node: Ring() for node in NODES}
        self.turns = {
            node: Turn("ear", Duties(node, ring), partial(self._begin, node)) for node, ring in self.rings.items()
        }

    def _begin(self, node: NodeId, tx: Tx, key: str) -> int:
        """As a member does: its list of members has to be the one of the database."""
        if self.rings[node].epoch != self.epoch or self.rings[node].node_of(key) != node:
            raise not_owner("This", node)
        return self.epoch

    def members(self, *members: NodeId, heard_by: list[NodeId] | None = None) -> NodeId:
        """There are other members from now on. Returns whom the ring names."""
        self.epoch += 1
        for node in NODES if heard_by is None else heard_by:
            self.rings[node].set_members(members, self.epoch)
        ring = Ring()
        ring.set_members(members, 1)
        return ring.node_of(duty_of("ear"))

    async def take(self, node: NodeId, *, overdue: bool = False) -> bool:
        return await self.store.write(lambda tx: self.turns[node].take(tx, overdue=overdue)) is not None

    async def hold(self, node: NodeId, sequence: int) -> None:
        await self.store.write(lambda tx: self.turns[node].hold(tx, sequence=sequence))

    async def give_up(self, node: NodeId) -> None:
        await self.store.write(self.turns[node].give_up)

    async def cursor(self) -> EventCursor:
        found = await self.store.read(lambda tx: tx.get(EventCursor, "ear"))
        assert found is not None
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = await Store.memory(Schema([EventCursor]), VirtualClock(), inline=True)
    await store.write(lambda tx: tx.insert(EventCursor(name="ear", sequence=1)))
    yield World(store)
    await store.close()


async def test_only_the_node_that_the_ring_names_takes_the_cursor_and_may_write(world: World) -> None:
    named = world.members(*NODES)
    assert [await world.take(node) for node in NODES] == [node == named for node in NODES]
    await world.hold(named, 2)
    for other in NODES:
        if other != named:
            with pytest.raises(NotOursError):
                await world.hold(other, 3)
    cursor = await world.cursor()
    assert (cursor.sequence, cursor.node_uuid, cursor.epoch) == (2, named, 1)


async def test_it_is_handed_over_by_the_old_owner_and_taken_in_any_case_when_that_takes_too_long(world: World) -> None:
    heir = world.members(*NODES)
    old = world.members(*(node for node in NODES if node != heir))
    assert await world.take(old)
    assert world.members(*NODES) == heir
    assert not await world.take(heir)
    await world.hold(old, 2)
    await world.give_up(old)
    assert await world.take(heir)
    with pytest.raises(NotOursError):
        await world.hold(old, 3)
    await world.give_up(old)  # safe to repeat: it is another's now
    assert (await world.cursor()).node_uuid == heir

    again = world.members(*(node for node in NODES if node != heir))
    assert await world.take(again)  # the old owner is no member any more
    world.members(*NODES)
    assert not await world.take(heir)
    assert await world.take(heir, overdue=True)
    with pytest.raises(NotOursError):
        await world.hold(again, 3)


async def test_a_node_whose_list_of_members_is_old_takes_nothing(world: World) -> None:
    named = world.members(*NODES)
    world.members(*(node for node in NODES if node != named), heard_by=[node for node in NODES if node != named])
    assert world.turns[named].is_mine  # it has not heard
    assert not await world.take(named, overdue=True)


async def test_a_node_that_is_no_member_is_refused(world: World) -> None:
    ring = Ring()
    ring.set_members([NODES[0]], 1)

    def fenced(tx: object, key: str) -> int:
        raise CairnError("node.fenced", "It is no member.")

    turn = Turn("ear", Duties(NODES[0], ring), fenced)
    with pytest.raises(CairnError, match="no member"):
        await world.store.write(lambda tx: turn.take(tx, overdue=True))
    assert (await world.cursor()).node_uuid is None


async def test_the_same_node_takes_it_again_after_a_restart(world: World) -> None:
    only = world.members(NODES[0])
    assert await world.take(only)
    world.members(NODES[0])
    assert await world.take(only)
    assert (await world.cursor()).epoch == 2
