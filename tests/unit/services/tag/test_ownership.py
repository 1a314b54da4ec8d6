from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import pytest
from tests.unit.services.identity.accounts import account
from tests.unit.services.small_node import SmallNode

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import Key, Named, Owner, Record, SubType, TableMeta, Visible
from cairn.services.tag.ownership import Ownership

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Boat(Named, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="boat", entity="Boat")

    kind: str = "Sail"
    account_uuid: Annotated[str, Owner()]


class SailBoat(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="sail_boat", entity="SailBoat", extends=SubType(parent=Boat, column="kind", value="Sail")
    )

    uuid: Annotated[str, Key()]


class Harbor(Named, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="harbor", entity="Harbor", visible=Visible.PUBLIC)


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = await SmallNode().start(Manifest(package=__name__, doc="Boats."))
    yield node
    await node.stop()


async def check(node: SmallNode, uuid: str, actor: str | None, entity: str | None = None) -> CairnError | None:
    ownership = Ownership(node.context.store.schema)
    try:
        await node.context.store.read(lambda tx: ownership.check(tx, uuid, actor, entity))
    except CairnError as error:
        return error
    return None


async def code(node: SmallNode, uuid: str, actor: str | None, entity: str | None = None) -> str | None:
    error = await check(node, uuid, actor, entity)
    return None if error is None else error.code


async def test_what_an_account_owns_is_its_own_and_the_admins(node: SmallNode) -> None:
    ann, bob = await account(node, "ann"), await account(node, "bob")
    root = await account(node, "root", admin=True)
    await node.insert(Boat(uuid="b", name="b", account_uuid=ann, create_date=NOW, last_op_date=NOW))

    for actor in (ann, root, None):
        assert await code(node, "b", actor, "Boat") is None
        assert await code(node, "b", actor) is None
    assert await code(node, "b", bob, "Boat") == "boat.not-found"
    assert await code(node, "b", bob) == "boat.not-found"
    assert await code(node, "missing", root, "Boat") == "boat.not-found"
    assert await code(node, ann, ann, "Account") is None
    assert await code(node, ann, bob, "Account") == "account.not-found"


async def test_what_nobody_owns_is_the_admins(node: SmallNode) -> None:
    ann = await account(node, "ann")
    root = await account(node, "root", admin=True)
    await node.insert(Harbor(uuid="h", name="h", create_date=NOW, last_op_date=NOW))

    assert await code(node, "h", root, "Harbor") is None
    assert await code(node, "h", ann, "Harbor") == "harbor.not-found"


async def test_a_type_that_is_not_the_resources_own_is_refused(node: SmallNode) -> None:
    ann, bob = await account(node, "ann"), await account(node, "bob")
    await node.insert(Boat(uuid="b", name="Nina", account_uuid=ann, create_date=NOW, last_op_date=NOW))

    error = await check(node, "b", ann, "Harbor")

    assert error is not None
    assert (error.code, error.kind) == ("tag.wrong-resource-type", ErrorKind.INVALID)
    assert "Boat, which Nina is, would fit" in error.fields["resourceType"]
    assert await code(node, "b", bob, "Harbor") == "harbor.not-found"  # and tells others nothing


async def test_types_that_are_not_of_resources_are_unknown(node: SmallNode) -> None:
    for entity in ("Bote", "SailBoat", "Job"):
        error = await check(node, "b", None, entity)
        assert error is not None
        assert (error.code, "Boat" in error.message) == ("tag.unknown-resource-type", True)
