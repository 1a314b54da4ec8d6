from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, ClassVar

import msgspec
import pytest

from cairn.kernel.error import CairnError, ErrorRecord
from cairn.kernel.query import Inventory, QueryEngine, QueryRequest, Scope, TagTables
from cairn.kernel.store import (
    AdminOnly,
    Key,
    Owner,
    Record,
    References,
    Schema,
    Store,
    SubType,
    TableMeta,
    Tx,
    Uuids,
    Visible,
)
from cairn.testing.clock import VirtualClock


class Site(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="site",
        entity="Site",
        visible=Visible.PUBLIC,
        nested={
            "boxes": "Box.site_uuid",
            "notes": "Note.site_uuid",
            "boxUuids": Uuids(link="box", own="site_uuid", other="uuid"),
            "likedUuids": Uuids(link="liking", own="site_uuid", other="box_uuid"),
            "nearUuids": Uuids(link="nearness", own="site_uuid", other="other_uuid"),
        },
    )

    uuid: Annotated[str, Key()]
    kind: str = "Open"
    address: Annotated[str, AdminOnly()] = ""


class Tower(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(
        table="tower",
        entity="Tower",
        visible=Visible.ADMIN,
        extends=SubType(parent=Site, column="kind", value="Tower"),
    )

    uuid: Annotated[str, Key()]
    login: str


class Box(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="box", entity="Box", nested={"lids": "Lid.box_uuid"})

    uuid: Annotated[str, Key()]
    account_uuid: Annotated[str, Owner()]
    size: int = 1
    site_uuid: Annotated[str, References(Site, join="site")]
    kept_by: Annotated[str | None, AdminOnly(), References(Site, join="keeper", back="kept")] = None


class Lid(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="lid", entity="Lid", owned_by="box_uuid")

    uuid: Annotated[str, Key()]
    box_uuid: Annotated[str, References(Box, join="box")]
    price: Annotated[int, AdminOnly()] = 5


class Note(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="note", entity="Note", visible=Visible.ADMIN)

    uuid: Annotated[str, Key()]
    site_uuid: Annotated[str, References(Site, join="site")]
    box_uuid: Annotated[str | None, References(Box, join="box", back="notes")] = None
    text: str = "x"


class Liking(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="liking")

    uuid: Annotated[str, Key()]
    site_uuid: Annotated[str, References(Site)]
    box_uuid: Annotated[str, References(Box)]


class Nearness(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="nearness")

    uuid: Annotated[str, Key()]
    site_uuid: Annotated[str, References(Site)]
    other_uuid: Annotated[str, References(Site)]


class Tag(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="tag", entity="Tag")

    uuid: Annotated[str, Key()]
    resource_uuid: str
    tag: str
    account_uuid: Annotated[str | None, Owner()] = None


class Work(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="work", entity="Work")

    uuid: Annotated[str, Key()]
    account_uuid: Annotated[str, Owner()]
    error: ErrorRecord | None = None


RECORDS: list[type[Record]] = [Site, Tower, Box, Lid, Note, Liking, Nearness, Tag, Work]
FAILED = CairnError("box.no", "No.", operator="s2", cause=CairnError("site.no", "Full.", operator="10.0.0.2")).record()
ANN = Scope("ann")


def fill(tx: Tx) -> None:
    tx.insert_many([Site(uuid="s1", address="10.0.0.1"), Site(uuid="s2", kind="Tower", address="10.0.0.2")])
    tx.insert(Tower(uuid="s2", login="root"))
    tx.insert(Box(uuid="a", account_uuid="ann", site_uuid="s1", kept_by="s2"))
    tx.insert(Box(uuid="b", account_uuid="bob", site_uuid="s1", kept_by="s2"))
    tx.insert_many([Lid(uuid="la", box_uuid="a"), Lid(uuid="lb", box_uuid="b")])
    tx.insert_many([Note(uuid="n1", site_uuid="s1", box_uuid="a"), Note(uuid="n2", site_uuid="s2")])
    tx.insert_many([Liking(uuid="1", site_uuid="s1", box_uuid="b"), Liking(uuid="2", site_uuid="s1", box_uuid="a")])
    tx.insert(Nearness(uuid="1", site_uuid="s1", other_uuid="s2"))
    tx.insert(Tag(uuid="t1", resource_uuid="s1", tag="cheap"))
    tx.insert(Tag(uuid="t2", resource_uuid="a", tag="mine", account_uuid="ann"))
    tx.insert_many([Work(uuid="w1", account_uuid="ann", error=FAILED), Work(uuid="w2", account_uuid="ann")])


@pytest.fixture
async def engine() -> AsyncIterator[QueryEngine]:
    store = await Store.memory(Schema(RECORDS), VirtualClock(), inline=True)
    await store.write(fill)
    yield QueryEngine(store.schema, store, tags=TagTables(system="tag", user="tag"))
    await store.close()


async def shown(engine: QueryEngine, entity: str, *conditions: str, scope: Scope = ANN) -> list[Inventory]:
    return (await engine.run(QueryRequest(entity=entity, conditions=conditions), scope)).inventories or []


async def keys(engine: QueryEngine, entity: str, *conditions: str, scope: Scope = ANN) -> list[object]:
    return [row["uuid"] for row in await shown(engine, entity, *conditions, scope=scope)]


@pytest.mark.parametrize(
    ("entity", "condition"),
    [
        ("Site", "address=10.0.0.1"),  # a field
        ("Box", "site.address=10.0.0.1"),  # behind a join
        ("Box", "keptBy=s2"),
        ("Box", "keeper.uuid=s2"),  # a join along a field that is for administrators
        ("Site", "kept.uuid=a"),  # and back
        ("Site", "notes.text=x"),  # a join to an entity
        ("Box", "site.notes.text=x"),
        ("Box", "notes.uuid=n1"),
        ("Site", "boxUuids=b"),  # uuids of what others own
        ("Site", "likedUuids=b"),
        ("Lid", "price=5"),
    ],
)
async def test_what_is_for_admins_is_as_unknown_as_what_nobody_declared(
    engine: QueryEngine, entity: str, condition: str
) -> None:
    *_, name = condition.partition("=")[0].split(".")
    prefix = condition.partition("=")[0].removesuffix(name)
    assert await keys(engine, entity, condition, scope=Scope())
    texts = []
    for text in (condition, condition.replace(prefix + name, f"{prefix}nothing", 1)):
        with pytest.raises(CairnError) as caught:
            await shown(engine, entity, text)
        assert caught.value.code == "query.unknown-field"
        texts.append(str(caught.value.details["fits"]))
    if prefix in ("", "site."):
        assert texts[0] == texts[1]
        assert f"'{name}'" not in texts[0]


async def test_a_subtype_is_fixed_for_admins_only(engine: QueryEngine) -> None:
    assert await keys(engine, "Site", "kind=Tower", "login=root", scope=Scope()) == ["s2"]
    assert await keys(engine, "Site", "kind=Tower") == ["s2"]
    with pytest.raises(CairnError, match="no such field") as caught:
        await shown(engine, "Site", "kind=Tower", "login=root")
    assert "Tower" not in caught.value.message.replace("kind=Tower", "")


async def test_fields_sorting_and_entities_for_admins_are_unknown(engine: QueryEngine) -> None:
    for request, code in (
        (QueryRequest(entity="Site", fields=["address"]), "query.unknown-field"),
        (QueryRequest(entity="Site", fields=["notes"]), "query.unknown-field"),
        (QueryRequest(entity="Site", fields=["login"]), "query.unknown-field"),
        (QueryRequest(entity="Site", sort="-address"), "query.bad-sort"),
        (QueryRequest(entity="Note"), "query.unknown-entity"),
        (QueryRequest(entity="Tower"), "query.unknown-entity"),
    ):
        with pytest.raises(CairnError) as caught:
            await engine.run(request, ANN)
        assert caught.value.code == code
        assert "Note" not in str(caught.value.details["fits"])
        await engine.run(request, Scope())


async def test_an_error_is_shown_without_what_is_for_administrators(engine: QueryEngine) -> None:
    (row,) = await shown(engine, "Work", "error not null")
    public = {"code": "box.no", "kind": "invalid", "message": "No."}
    assert row["error"] == {**public, "cause": {"code": "site.no", "kind": "invalid", "message": "Full."}}
    (whole,) = await shown(engine, "Work", "error not null", scope=Scope())
    assert msgspec.convert(whole["error"], ErrorRecord) == FAILED
    assert engine.narrowed("Work", whole) == row
    assert await keys(engine, "Work", "error is null") == ["w2"]


@pytest.mark.parametrize("condition", ["error~=%s2%", "error!~=%s2%", "error=s2", "error>a"])
async def test_no_condition_probes_an_error_for_what_is_not_shown(engine: QueryEngine, condition: str) -> None:
    with pytest.raises(CairnError) as caught:
        await shown(engine, "Work", condition)
    assert caught.value.code == "query.bad-operator"
    with pytest.raises(CairnError) as caught:
        await engine.run(QueryRequest(entity="Work", sort="error"), ANN)
    assert caught.value.code == "query.bad-sort"


async def test_inventories_have_what_is_the_accounts_to_see(engine: QueryEngine) -> None:
    lid = {"uuid": "la", "boxUuid": "a"}
    box = {"uuid": "a", "accountUuid": "ann", "size": 1, "siteUuid": "s1", "lids": [lid]}
    assert await shown(engine, "Site") == [
        {"uuid": "s1", "kind": "Open", "boxes": [box], "nearUuids": ["s2"]},
        {"uuid": "s2", "kind": "Tower", "boxes": [], "nearUuids": []},
    ]
    assert await engine.get("Box", "a", ANN) == box
    assert await engine.get("Box", "b", ANN) is None
    (whole, tower) = await shown(engine, "Site", scope=Scope())
    assert (whole["address"], whole["boxUuids"], whole["likedUuids"]) == ("10.0.0.1", ["a", "b"], ["b", "a"])
    assert tower["login"] == "root"


async def test_an_inventory_made_for_an_admin_is_narrowed_to_the_same_fields(engine: QueryEngine) -> None:
    for entity, uuid in (("Box", "a"), ("Site", "s2"), ("Lid", "la")):
        whole = await engine.get(entity, uuid)
        assert whole is not None
        narrowed = engine.narrowed(entity, whole)
        assert narrowed == await engine.get(entity, uuid, ANN)
        assert narrowed != whole


async def test_tags_are_conditions_where_they_are_the_accounts_own(engine: QueryEngine) -> None:
    assert await keys(engine, "Site", "__userTag__=cheap", scope=Scope()) == ["s1"]
    assert await keys(engine, "Site", "__userTag__=cheap") == []
    assert await keys(engine, "Site", "__userTag__ is null") == ["s1", "s2"]
    assert await keys(engine, "Box", "__userTag__=mine") == ["a"]
    assert await keys(engine, "Tag") == ["t2"]


def test_the_description_tells_what_is_for_admins(engine: QueryEngine) -> None:
    described = engine.schema()
    assert [name for name, entity in described.items() if entity.admin_only] == ["Note", "Tower"]
    assert [field.name for field in described["Site"].fields if field.admin_only] == ["address"]
