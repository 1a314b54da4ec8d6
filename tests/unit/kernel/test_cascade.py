from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, ClassVar

import pytest

from cairn.kernel.api import ApiDelete, DeleteMode, Http, delete
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Command
from cairn.kernel.bus.transport import NoTransport
from cairn.kernel.cascade import Cascade, DeleteChildren, DeleteChildrenInput, in_words
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import NodeId, RandomIds
from cairn.kernel.metrics import Metrics
from cairn.kernel.ring import Ring
from cairn.kernel.store import Key, Owner, Record, References, Schema, Store, TableMeta, Tx
from cairn.testing.clock import VirtualClock


class DeleteLand(ApiDelete, frozen=True, kw_only=True, tag="test-cascade.delete-land"):
    """Delete a land."""

    http: ClassVar[Http] = delete("/lands/{uuid}")
    entity: ClassVar[str | None] = "Land"

    uuid: str


class Land(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="land", entity="Land")

    uuid: Annotated[str, Key()]
    name: str


class Town(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="town", entity="Town")

    uuid: Annotated[str, Key()]
    land_uuid: Annotated[str, References("land")]


class House(Record, frozen=True, kw_only=True):
    """In a town, and for short in its land."""

    meta: ClassVar[TableMeta] = TableMeta(table="house", entity="House")

    uuid: Annotated[str, Key()]
    land_uuid: Annotated[str, References("land")]
    town_uuid: Annotated[str, References("town")]
    account_uuid: Annotated[str, Owner()] = "ann"
    asked_by: str | None = None


class Door(Record, frozen=True, kw_only=True):
    """Goes with its house; leads to a road."""

    meta: ClassVar[TableMeta] = TableMeta(table="door", entity="Door")

    uuid: Annotated[str, Key()]
    house_uuid: Annotated[str, References("house", on_delete="cascade")]
    road_uuid: Annotated[str, References("road")]


class Road(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="road", entity="Road")

    uuid: Annotated[str, Key()]
    land_uuid: Annotated[str, References("land")]


class RoadTown(Record, frozen=True, kw_only=True):
    """A road leads to a town."""

    meta: ClassVar[TableMeta] = TableMeta(table="road_town")

    number: Annotated[int, Key(auto=True)] = 0
    road_uuid: Annotated[str, References("road", on_delete="cascade")]
    town_uuid: Annotated[str, References("town")]


class Letter(Record, frozen=True, kw_only=True):
    """Survives everything."""

    meta: ClassVar[TableMeta] = TableMeta(table="letter", entity="Letter")

    uuid: Annotated[str, Key()]
    land_uuid: Annotated[str | None, References("land", on_delete="set-null")]
    account_uuid: Annotated[str | None, Owner()] = None


class Raze(Command[None], frozen=True, kw_only=True, tag="test-cascade.raze"):
    kind: str
    key: str


class Close(Command[None], frozen=True, kw_only=True, tag="test-cascade.close"):
    road: str
    town: str


KINDS: dict[str, type[Record]] = {"Town": Town, "House": House, "Road": Road}


class Map:
    """A land with services that raze."""

    def __init__(self, store: Store) -> None:
        ring = Ring()
        ring.set_members([NodeId("n")], 1)
        clock = VirtualClock()
        self.store = store
        self.bus = Bus(NodeId("n"), ring, NoTransport(), clock, Metrics(), RandomIds(1))
        self.cascade = Cascade(store, self.bus)
        self.done: list[str] = []
        self.refuse: set[str] = set()
        self.at_once = 0
        self.peak = 0
        self.close: Callable[[Close], Awaitable[None]] | None = None
        self.bus.register(Raze, self._raze)
        self.bus.register(Close, self._close)
        for kind in KINDS:
            self.cascade.register(kind, lambda uuid, kind=kind: Raze(kind=kind, key=uuid))  # type: ignore[misc]
        self.cascade.register_rows(RoadTown, lambda row: [Close(road=row.road_uuid, town=row.town_uuid)])

    async def _raze(self, message: Raze) -> None:
        self.at_once += 1
        self.peak = max(self.peak, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if message.key in self.refuse:
            raise CairnError("house.stubborn", "It does not go.", kind=ErrorKind.CONFLICT)
        self.done.append(message.key)
        await self.store.write(lambda tx: tx.delete(KINDS[message.kind], message.key))

    async def _close(self, message: Close) -> None:
        if self.close is not None:
            await self.close(message)
            return
        self.done.append(f"{message.road}-{message.town}")
        await self.store.write(lambda tx: tx.delete_where(RoadTown, road_uuid=message.road, town_uuid=message.town))

    async def insert(self, *records: Record) -> None:
        await self.store.write(lambda tx: tx.insert_many(records))

    async def dependents(self, record: type[Record], uuid: str) -> dict[str, int]:
        return await self.store.read(lambda tx: self.cascade.dependents(tx, record, uuid))


@pytest.fixture
async def land() -> AsyncIterator[Map]:
    schema = Schema([Land, Town, House, Door, Road, RoadTown, Letter])
    store = await Store.memory(schema, VirtualClock(), inline=True)
    land = Map(store)
    await land.insert(Land(uuid="l", name="Lilliput"))
    yield land
    await land.bus.stop()
    await store.close()


async def settle(land: Map) -> None:
    """Two towns with houses, and a road between that a door leads to."""
    await land.insert(
        Town(uuid="t1", land_uuid="l"),
        Town(uuid="t2", land_uuid="l"),
        House(uuid="h1", land_uuid="l", town_uuid="t1"),
        House(uuid="h2", land_uuid="l", town_uuid="t2"),
        Road(uuid="r", land_uuid="l"),
        RoadTown(road_uuid="r", town_uuid="t1"),
        RoadTown(road_uuid="r", town_uuid="t2"),
        Door(uuid="d", house_uuid="h1", road_uuid="r"),
        Letter(uuid="x", land_uuid="l"),
    )


async def test_dependents_are_counted_by_kind(land: Map) -> None:
    await settle(land)

    assert await land.dependents(Land, "l") == {"Town": 2, "House": 2, "Road": 1}
    assert await land.dependents(Town, "t1") == {"House": 1, "Road": 1}
    assert await land.dependents(House, "h1") == {}
    assert await land.dependents(Road, "r") == {"Door": 1}


async def test_refusal_says_what_is_inside_and_what_to_do(land: Map) -> None:
    def refuse(tx: Tx) -> None:
        land.cascade.refuse(tx, Land, "l", noun="land", name="Lilliput", can_enforce=True)

    await land.store.read(refuse)
    await land.insert(Town(uuid="t1", land_uuid="l"))
    with pytest.raises(CairnError) as caught:
        await land.store.read(refuse)

    assert caught.value.code == "land.in-use"
    assert caught.value.message == ("1 Town is in the land Lilliput: delete it first, or use deleteMode=Enforcing.")
    assert caught.value.details == {"dependents": {"Town": "1"}}


async def test_owned_counts_what_an_account_has_and_not_what_it_did(land: Map) -> None:
    await settle(land)
    await land.insert(Letter(uuid="y", land_uuid=None, account_uuid="ann"))

    assert await land.store.read(lambda tx: land.cascade.owned(tx, "ann")) == {"House": 2}
    assert await land.store.read(lambda tx: land.cascade.owned(tx, "bob")) == {}


async def test_clearing_deletes_the_deepest_first_and_leaves_what_does_not_stand_in_the_way(land: Map) -> None:
    await settle(land)

    await land.cascade.clear(Land, "l")

    assert await land.dependents(Land, "l") == {}
    assert land.done.index("h1") < land.done.index("t1")
    assert land.done.index("h2") < land.done.index("t2")
    assert land.done.index("h1") < land.done.index("r"), "the door goes with its house, and then the road can go"
    assert sorted(land.done) == ["h1", "h2", "r", "r-t1", "r-t2", "t1", "t2"]
    assert await land.store.read(lambda tx: tx.count(Letter)) == 1
    assert await land.store.read(lambda tx: tx.count(Land)) == 1


async def test_clearing_one_town_leaves_the_other(land: Map) -> None:
    await settle(land)

    await land.cascade.clear(Town, "t1")

    assert sorted(land.done) == ["h1", "r-t1"]
    assert await land.dependents(Town, "t1") == {}


async def test_clearing_what_nothing_refers_to_does_nothing(land: Map) -> None:
    await land.cascade.clear(Land, "l")
    await land.cascade.clear(Land, "unknown")

    assert land.done == []


async def test_clearing_stops_with_the_error_of_what_does_not_go(land: Map) -> None:
    await settle(land)
    land.refuse.add("h2")

    with pytest.raises(CairnError) as caught:
        await land.cascade.clear(Land, "l")

    assert caught.value.code == "cascade.not-deleted"
    assert caught.value.kind is ErrorKind.CONFLICT
    assert caught.value.cause is not None
    assert caught.value.cause.code == "house.stubborn"
    assert await land.dependents(Land, "l") == {"Town": 1, "House": 1}

    land.refuse.clear()
    await land.cascade.clear(Land, "l")
    assert await land.dependents(Land, "l") == {}


async def test_clearing_does_not_go_round_in_circles_when_what_fails_comes_back_as_another_row(land: Map) -> None:
    await land.insert(
        Town(uuid="t", land_uuid="l"), Road(uuid="r", land_uuid="l"), RoadTown(road_uuid="r", town_uuid="t")
    )
    tries = 0

    async def come_back(message: Close) -> None:
        nonlocal tries
        tries += 1
        await land.store.write(lambda tx: tx.delete_where(RoadTown, road_uuid=message.road))
        await land.insert(RoadTown(road_uuid=message.road, town_uuid=message.town))
        raise CairnError("road.open", "There is traffic on it.", kind=ErrorKind.CONFLICT)

    land.close = come_back

    with pytest.raises(CairnError) as caught:
        await land.cascade.clear(Town, "t")

    assert tries == 1
    assert caught.value.details["blocking"] == [f"{caught.value.message} There is traffic on it."]


async def test_clearing_leaves_what_nobody_deletes(land: Map) -> None:
    await land.insert(
        Town(uuid="t", land_uuid="l"),
        Road(uuid="r", land_uuid="l"),
        House(uuid="h", land_uuid="l", town_uuid="t"),
        Door(uuid="d", house_uuid="h", road_uuid="r"),
    )

    await land.cascade.clear(Road, "r")

    assert await land.dependents(Road, "r") == {"Door": 1}


async def test_many_are_deleted_a_few_at_a_time_and_all_of_them(land: Map) -> None:
    await land.insert(*(Town(uuid=f"t{number:04}", land_uuid="l") for number in range(1201)))

    await land.cascade.clear(Land, "l")

    assert len(land.done) == 1201
    assert 2 <= land.peak <= 10


async def test_the_step_clears_only_when_enforcing(land: Map) -> None:
    await settle(land)
    step = DeleteChildren(land.cascade, land.store.schema)

    await step.do(DeleteChildrenInput(uuid="l", asked=DeleteLand(uuid="l")))
    assert land.done == []
    await step.do(DeleteChildrenInput(uuid="l", asked=DeleteLand(uuid="l", delete_mode=DeleteMode.ENFORCING)))
    assert await land.dependents(Land, "l") == {}


def test_numbers_in_words() -> None:
    assert in_words({"Zone": 1}) == "1 Zone"
    assert in_words({"Host": 2, "PrimaryStorage": 3}) == "2 Hosts and 3 PrimaryStorage"
    assert in_words({"Host": 2, "Zone": 1, "Volume": 4}) == "2 Hosts, 1 Zone and 4 Volumes"
