from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, ClassVar, TypeVar

import pytest
from msgspec import Struct

from cairn.kernel.api import (
    ApiChangeState,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Reference,
    action,
    delete,
    post,
)
from cairn.kernel.api import StateEvent as Event
from cairn.kernel.bus.context import CallContext, entered
from cairn.kernel.cascade import Cascade
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId, RandomIds
from cairn.kernel.resource import (
    EnabledState,
    EraseInput,
    EraseResource,
    FormerUuid,
    Resource,
    announce,
    changed,
    create,
    erase,
    erase_unless_used,
    existing,
    forget_former,
    gone,
    is_announced,
    refuse_former,
    retract,
    state_changed,
    taken,
    write,
)
from cairn.kernel.store.record import Key, Named, Owner, Record, References, TableMeta
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import SystemTag, TagDefinition, Tags, UserTag
from cairn.testing.clock import VirtualClock

T = TypeVar("T")
UUID = "a" * 32


class Garden(Named, frozen=True, kw_only=True):
    """Where plants stand."""

    meta: ClassVar[TableMeta] = TableMeta(table="garden", entity="Garden")

    account_uuid: Annotated[str, Owner()]
    state: EnabledState = EnabledState.ENABLED
    size: int = 1


class Plant(Record, frozen=True, kw_only=True):
    """Stands in a garden."""

    meta: ClassVar[TableMeta] = TableMeta(table="plant", entity="Plant")

    uuid: Annotated[str, Key()]
    garden_uuid: Annotated[str, References("garden")]


class CreateGarden(ApiCreate, frozen=True, kw_only=True, tag="test-resource.create"):
    """Make a garden."""

    http: ClassVar[Http] = post("/gardens")
    entity: ClassVar[str | None] = "Garden"
    name: Name
    description: Description | None = None
    size: int = 1


class UpdateGarden(ApiUpdate, frozen=True, kw_only=True, tag="test-resource.update"):
    """Change a garden."""

    http: ClassVar[Http] = action("/gardens/{uuid}/actions", "updateGarden")
    entity: ClassVar[str | None] = "Garden"
    size: int | None = None


class ChangeGardenState(ApiChangeState, frozen=True, kw_only=True, tag="test-resource.state"):
    """Open or close a garden."""

    http: ClassVar[Http] = action("/gardens/{uuid}/actions", "changeGardenState")
    entity: ClassVar[str | None] = "Garden"


class DeleteGarden(ApiDelete, frozen=True, kw_only=True, tag="test-resource.delete"):
    """Remove a garden."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/gardens/{uuid}")
    entity: ClassVar[str | None] = "Garden"
    uuid: str


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.tags = Tags(RandomIds(seed=1), [TagDefinition("sun::{hours}", "Garden", doc="a day")])
        self.cascade = Cascade(store, None)  # type: ignore[arg-type]

    async def do(self, fn: Callable[[Tx], T]) -> T:
        return await self.store.write(fn)

    async def create(self, name: str = "rose", **fields: object) -> str:
        message = CreateGarden(name=name, **{"resource_uuid": UUID, **fields})  # type: ignore[arg-type]
        with entered(CallContext(actor="gardener")):
            return (await self.do(lambda tx: create(tx, self.tags, Garden, message))).uuid

    async def garden(self) -> Garden:
        return await self.do(lambda tx: existing(tx, Garden, UUID))

    async def count(self, kind: type[Record]) -> int:
        return await self.do(lambda tx: tx.count(kind))


@pytest.fixture
async def world() -> World:
    schema = Schema([FormerUuid, Resource, SystemTag, UserTag, Garden, Plant])
    return World(await Store.memory(schema, VirtualClock(), inline=True))


async def test_a_resource_has_a_row_of_its_own_and_one_among_all_resources(world: World) -> None:
    await world.create(size=3, description="red")
    garden = await world.garden()
    row = await world.do(lambda tx: tx.get(Resource, UUID))
    assert (garden.size, garden.description, garden.account_uuid) == (3, "red", "gardener")
    assert garden.create_date == garden.last_op_date
    assert row == Resource(
        uuid=UUID, type="Garden", name="rose", account_uuid="gardener", create_date=garden.create_date
    )


async def test_what_the_maker_adds_comes_before_what_the_message_says(world: World) -> None:
    message = CreateGarden(name="rose", resource_uuid=UUID, size=3)
    await world.do(lambda tx: create(tx, world.tags, Garden, message, size=7, account_uuid="other"))
    garden = await world.garden()
    assert (garden.size, garden.account_uuid) == (7, "other")


async def test_tags_come_with_their_resource_and_go_with_it(world: World) -> None:
    await world.create(system_tags=["sun::8"], user_tags=["pretty"])
    assert (await world.count(SystemTag), await world.count(UserTag)) == (1, 1)
    assert await world.do(lambda tx: erase(tx, Garden, UUID)) == 1
    assert [await world.count(kind) for kind in (Garden, Resource, SystemTag, UserTag)] == [0, 0, 0, 0]
    assert await world.do(lambda tx: erase(tx, Garden, UUID)) == 0


async def test_a_uuid_stays_refused_to_other_accounts_when_its_resource_is_gone(world: World) -> None:
    await world.create()
    row = await world.do(lambda tx: tx.get(Resource, UUID))
    assert row is not None
    assert row.account_uuid is not None
    for _ in range(2):
        await world.do(lambda tx: erase(tx, Garden, UUID))
    with pytest.raises(CairnError) as caught:
        await world.do(lambda tx: refuse_former(tx, UUID, "mallory"))
    assert caught.value.code == "resource.uuid-taken"
    for may in (row.account_uuid, None):
        await world.do(lambda tx, may=may: refuse_former(tx, UUID, may))  # type: ignore[misc]
    await world.create()
    await world.do(lambda tx: erase(tx, Garden, UUID))
    assert await world.count(FormerUuid) == 1


async def test_a_former_uuid_is_forgotten_by_the_age_of_the_last_resource_that_had_it(world: World) -> None:
    went: list[datetime] = []
    for _ in range(2):
        await world.create()
        await world.do(lambda tx: erase(tx, Garden, UUID))
        went.append(await world.do(lambda tx: tx.find(FormerUuid)[0].create_date))

    assert went[0] < went[1]
    assert await forget_former(world.store, went[0]) == 0
    assert await forget_former(world.store, went[1]) == 1
    await world.do(lambda tx: refuse_former(tx, UUID, "mallory"))


async def test_a_uuid_is_given_once_whatever_the_type(world: World) -> None:
    await world.create()
    with pytest.raises(CairnError) as caught:
        await world.create("tulip")
    assert (caught.value.code, caught.value.kind) == ("resource.uuid-taken", ErrorKind.CONFLICT)
    assert set(caught.value.fields) == {"resourceUuid"}
    assert (await world.garden()).name == "rose"


async def test_a_resource_is_taken_from_the_moment_its_creation_was_accepted(world: World) -> None:
    message = CreateGarden(name="rose", resource_uuid=UUID)
    await world.do(lambda tx: announce(tx, message, job="j1", owner="gardener"))
    row = await world.do(lambda tx: tx.get(Resource, UUID))
    assert row is not None
    assert (row.type, row.name, row.account_uuid, row.job_uuid) == ("Garden", "rose", "gardener", "j1")
    with pytest.raises(CairnError, match=r"resource\.uuid-taken"):
        await world.do(lambda tx: announce(tx, message, job="j2", owner="thief"))

    with pytest.raises(CairnError, match=r"resource\.uuid-taken"):
        await world.create()  # of no job, or of another
    with entered(CallContext(actor="gardener", job=JobId("j1"))):
        await world.do(lambda tx: create(tx, world.tags, Garden, message))

    assert (await world.garden()).account_uuid == "gardener"
    assert await world.count(Resource) == 1


async def test_what_is_announced_is_seen_by_its_owner_until_it_is_there(world: World) -> None:
    message = CreateGarden(name="rose", resource_uuid=UUID)
    await world.do(lambda tx: announce(tx, message, job="j1", owner="gardener"))

    async def seen(entity: str = "Garden", uuid: str = UUID, owner: str | None = None) -> bool:
        return await world.do(lambda tx: is_announced(tx, entity, uuid, owner))

    assert await seen()
    assert await seen(owner="gardener")
    assert not await seen(owner="thief")
    assert not await seen("Plant")
    assert not await seen("Nothing")
    assert not await seen(uuid="0" * 32)
    with entered(CallContext(actor="gardener", job=JobId("j1"))):
        await world.do(lambda tx: create(tx, world.tags, Garden, message))
    assert not await seen()


async def test_what_was_not_made_after_all_is_free_again_and_what_was_made_stays(world: World) -> None:
    message = CreateGarden(name="rose", resource_uuid=UUID)
    await world.do(lambda tx: announce(tx, message, job="j1", owner="gardener"))
    await world.do(lambda tx: retract(tx, message, job="another"))
    assert await world.count(Resource) == 1
    await world.do(lambda tx: retract(tx, message, job="j1"))
    await world.do(lambda tx: retract(tx, message, job="j1"))
    assert await world.count(Resource) == 0

    await world.do(lambda tx: announce(tx, message, job="j1", owner="gardener"))
    with entered(CallContext(actor="gardener", job=JobId("j1"))):
        await world.do(lambda tx: create(tx, world.tags, Garden, message))
    await world.do(lambda tx: retract(tx, message, job="j1"))
    assert await world.count(Resource) == 1


async def test_a_resource_without_a_message_is_written_with_its_owner(world: World) -> None:
    await world.create()
    row = await world.garden()
    await world.do(lambda tx: erase(tx, Garden, UUID))
    await world.do(lambda tx: write(tx, row))
    assert await world.garden() == row
    assert await world.do(lambda tx: tx.count(Resource, account_uuid="gardener")) == 1


async def test_only_what_is_given_is_changed_and_the_name_in_both_rows(world: World) -> None:
    await world.create(description="red", size=3)
    message = UpdateGarden(uuid=UUID, name="tulip")
    assert await world.do(lambda tx: changed(tx, Garden, message)) == Reference(uuid=UUID)
    garden = await world.garden()
    assert (garden.name, garden.description, garden.size) == ("tulip", "red", 3)
    assert await world.do(lambda tx: tx.count(Resource, name="tulip")) == 1
    await world.do(lambda tx: changed(tx, Garden, UpdateGarden(uuid=UUID, size=4), description="blue"))
    garden = await world.garden()
    assert (garden.name, garden.description, garden.size) == ("tulip", "blue", 4)


async def test_enabling_and_disabling_are_safe_to_repeat(world: World) -> None:
    await world.create()
    for event, state in [
        (Event.DISABLE, EnabledState.DISABLED),
        (Event.DISABLE, EnabledState.DISABLED),
        (Event.ENABLE, EnabledState.ENABLED),
    ]:
        message = ChangeGardenState(uuid=UUID, state_event=event)
        await world.do(lambda tx, message=message: state_changed(tx, Garden, message))  # type: ignore[misc]
        assert (await world.garden()).state is state


@pytest.mark.parametrize(
    "fn",
    [
        lambda tx: existing(tx, Garden, UUID, "gardenUuid"),
        lambda tx: changed(tx, Garden, UpdateGarden(uuid=UUID)),
        lambda tx: state_changed(tx, Garden, ChangeGardenState(uuid=UUID, state_event=Event.ENABLE)),
    ],
)
async def test_a_resource_that_is_not_there_is_named(world: World, fn: Callable[[Tx], object]) -> None:
    with pytest.raises(CairnError) as caught:
        await world.do(fn)
    assert (caught.value.code, caught.value.kind) == ("garden.not-found", ErrorKind.NOT_FOUND)


async def test_gone_tells_whether_what_a_call_names_is_there(world: World) -> None:
    is_gone = gone(Garden)
    message = DeleteGarden(uuid=UUID)
    assert await world.do(lambda tx: is_gone(tx, message))
    await world.create()
    assert not await world.do(lambda tx: is_gone(tx, message))


async def test_a_resource_that_something_refers_to_stays(world: World) -> None:
    await world.create()
    await world.do(lambda tx: tx.insert(Plant(uuid="plant", garden_uuid=UUID)))
    message = DeleteGarden(uuid=UUID)
    with pytest.raises(CairnError) as caught:
        await world.do(lambda tx: erase_unless_used(tx, world.cascade, Garden, message, UUID))
    assert caught.value.code == "garden.in-use"
    await world.do(lambda tx: tx.delete(Plant, "plant"))
    for _ in range(2):
        await world.do(lambda tx: erase_unless_used(tx, world.cascade, Garden, message, UUID))
    assert await world.count(Garden) == 0


async def test_the_step_erases_what_the_calls_entity_and_uuid_name(world: World) -> None:
    step = EraseResource(world.cascade, world.store.schema)
    given = EraseInput(uuid=UUID, asked=DeleteGarden(uuid=UUID))
    await world.create()
    for _ in range(2):
        await world.do(lambda tx: step.do(tx, given))
    assert await world.count(Resource) == 0


class Label(Struct, frozen=True, kw_only=True):
    name: str
    size: int = 9
    note: str | None = None


class Tag(Struct, frozen=True, kw_only=True):
    note: str
    size: int


def test_fields_are_taken_from_values_then_from_the_first_source_that_has_them() -> None:
    first, second = Label(name="a", size=1, note="first"), Tag(note="second", size=2)
    assert taken(Label, first, second) == first
    assert taken(Label, second, first) == Label(name="a", size=2, note="second")
    assert taken(Label, second, name="b", note=None) == Label(name="b", size=2)


def test_what_no_source_has_must_be_given() -> None:
    with pytest.raises(TypeError, match="name"):
        taken(Label, Tag(note="x", size=1))
