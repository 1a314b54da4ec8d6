from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, ClassVar

import pytest
from tests.unit.services.identity.accounts import account
from tests.unit.services.small_node import SmallNode

from cairn.kernel.error import CairnError
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import Key, Owner, Record, References, SubType, TableMeta
from cairn.services.tag.ownership import Ownership


class Boat(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="boat", entity="Boat")

    uuid: Annotated[str, Key()]
    kind: str = "Sail"
    account_uuid: Annotated[str, Owner()]


class SailBoat(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="sail_boat", entity="SailBoat", extends=SubType(parent=Boat, column="kind", value="Sail")
    )

    uuid: Annotated[str, Key()]
    masts: int = 1


class Oar(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="oar", entity="Oar", owned_by="boat_uuid")

    uuid: Annotated[str, Key()]
    boat_uuid: Annotated[str, References(Boat, join="boat", back="oars")]


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = await SmallNode().start(Manifest(package=__name__, doc="Boats."))
    yield node
    await node.stop()


async def allowed(node: SmallNode, entity: str, uuid: str, actor: str | None) -> bool:
    ownership = Ownership(node.context.store.schema)
    try:
        await node.context.store.read(lambda tx: ownership.check(tx, entity, uuid, actor))
    except CairnError as error:
        assert error.code.endswith(".not-found")
        return False
    return True


async def test_owners_are_found_directly_by_what_they_belong_to_and_by_their_parent(node: SmallNode) -> None:
    ann, bob = await account(node, "ann"), await account(node, "bob")
    root = await account(node, "root", admin=True)
    await node.insert(Boat(uuid="b", account_uuid=ann), SailBoat(uuid="b"), Oar(uuid="o", boat_uuid="b"))

    for entity, uuid in (("Boat", "b"), ("SailBoat", "b"), ("Oar", "o")):
        assert await allowed(node, entity, uuid, ann)
        assert await allowed(node, entity, uuid, root)
        assert await allowed(node, entity, uuid, None)
        assert not await allowed(node, entity, uuid, bob)
        assert not await allowed(node, entity, "missing", root)
