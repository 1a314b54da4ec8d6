from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.ownership import Claim, Owned, change, is_living, remove, take
from cairn.kernel.store.record import TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock
from cairn.testing.owner import SoleOwner

A, B = NodeId("a"), NodeId("b")


class Work(Owned, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="work", entity="Work")

    done: int = 0


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.memory(Schema([Work]), VirtualClock(), inline=True)
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


def test_rows_of_this_nodes_former_process_are_of_a_dead_one() -> None:
    owners = SoleOwner(A)
    owners.joined = 5
    assert is_living(owners, Claim("w", A, 5))
    assert not is_living(owners, Claim("w", A, 4))
    assert not is_living(owners, Claim("w", B, 9))
    owners.alive = frozenset({A, B})
    assert is_living(owners, Claim("w", B, 1))
