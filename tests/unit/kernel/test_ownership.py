from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, ClassVar

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.ownership import Claim, Owned, change, change_if, is_living, remove, take
from cairn.kernel.store.record import Key, Record, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock
from cairn.testing.owner import SoleOwner

A, B = NodeId("a"), NodeId("b")


class Work(Owned, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="work", entity="Work")

    done: int = 0


class Post(Record, frozen=True, kw_only=True):
    """Something that one node has, found by a name, and sometimes nobody's."""

    meta: ClassVar[TableMeta] = TableMeta(table="post")

    name: Annotated[str, Key()]
    node_uuid: NodeId | None = None
    epoch: int = 0
    done: int = 0


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.memory(Schema([Work, Post]), VirtualClock(), inline=True)
    await store.write(lambda tx: tx.insert(Work(uuid="w", node_uuid=A, epoch=3)))
    yield store
    await store.close()


async def row(store: Store) -> Work | None:
    return await store.read(lambda tx: tx.get(Work, "w"))


async def test_the_owner_writes_and_removes(store: Store) -> None:
    await store.write(lambda tx: change(tx, Work, Claim("w", A, 3), done=1))
    assert await row(store) == Work(uuid="w", node_uuid=A, epoch=3, done=1)
    await store.write(lambda tx: remove(tx, Work, Claim("w", A, 3)))
    assert await row(store) is None


@pytest.mark.parametrize("claim", [Claim("w", B, 3), Claim("w", A, 2), Claim("w", A, 4), Claim("gone", A, 3)])
async def test_everybody_else_is_refused(store: Store, claim: Claim) -> None:
    before = await row(store)
    with pytest.raises(CairnError, match=r"node\.fenced"):
        await store.write(lambda tx: change(tx, Work, claim, done=1))
    with pytest.raises(CairnError, match=r"node\.fenced"):
        await store.write(lambda tx: remove(tx, Work, claim))
    assert not await store.write(lambda tx: take(tx, Work, claim, B, 9))
    assert await row(store) == before


async def test_of_two_that_take_a_row_one_has_it(store: Store) -> None:
    seen = Claim("w", A, 3)
    assert await store.write(lambda tx: take(tx, Work, seen, B, 4))
    assert not await store.write(lambda tx: take(tx, Work, seen, A, 4))
    with pytest.raises(CairnError, match=r"node\.fenced"):
        await store.write(lambda tx: change(tx, Work, seen, done=1))
    taken = await row(store)
    assert taken is not None
    assert taken.claim == Claim("w", B, 4)


async def test_a_row_with_a_key_of_its_own_is_guarded_in_the_same_way(store: Store) -> None:
    nobodys, ones = Claim("p", None, 0), Claim("p", A, 4)
    await store.write(lambda tx: tx.insert(Post(name="p")))
    assert not await store.write(lambda tx: change_if(tx, Post, ones, done=1))
    assert await store.write(lambda tx: take(tx, Post, nobodys, A, 4, done=2))
    assert not await store.write(lambda tx: take(tx, Post, nobodys, B, 5))
    assert await store.write(lambda tx: change_if(tx, Post, ones, node_uuid=None))
    with pytest.raises(CairnError, match=r"taken over Post p"):
        await store.write(lambda tx: remove(tx, Post, ones))
    assert await store.read(lambda tx: tx.get(Post, "p")) == Post(name="p", epoch=4, done=2)


def test_rows_of_this_nodes_former_process_are_of_a_dead_one() -> None:
    owners = SoleOwner(A)
    owners.joined = 5
    assert is_living(owners, Claim("w", A, 5))
    assert not is_living(owners, Claim("w", A, 4))
    assert not is_living(owners, Claim("w", B, 9))
    owners.alive = frozenset({A, B})
    assert is_living(owners, Claim("w", B, 1))
