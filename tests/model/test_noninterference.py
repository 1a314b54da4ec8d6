"""What an account can learn by queries does not depend on what is not its own: two worlds that differ in nothing but secrets.

The worlds are made from the records themselves, so each table of core and plugins is in them. In every table, row 0
belongs to eve where accounts own rows at all, or hangs on what is hers. Secret are: the rows of others, all of
operators' tables, each field that is for administrators or hidden, and the operators' part of errors. Whatever eve
asks, in words of the whole catalog, both worlds answer the same, errors included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import cast

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.bootstrap import load_plugins
from cairn.kernel.assembly import make_schema
from cairn.kernel.error import CairnError, ErrorRecord
from cairn.kernel.query import QueryEngine, QueryRequest, Scope
from cairn.kernel.query.accounts import for_accounts
from cairn.kernel.query.catalog import Catalog, Entity, TagTables
from cairn.kernel.settings import load
from cairn.kernel.store.record import Field, Kind, RecordInfo, SqlValue, Visible
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock

SCHEMA = make_schema(load_plugins(load({})))
EVERYTHING = Catalog(SCHEMA, TagTables())
ACCOUNTS = for_accounts(EVERYTHING)
EVE = Scope(owner="row0")
NAMES = sorted(EVERYTHING.entities)
WORLDS = (0, 1)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def entity_of(info: RecordInfo) -> Entity | None:
    return None if info.meta.entity is None else EVERYTHING.entities[info.meta.entity]


def is_owned(info: RecordInfo) -> bool:
    entity = entity_of(info)
    return entity is not None and entity.owned


def is_secret(info: RecordInfo, row: int) -> bool:
    """Whether nothing of a row is eve's to see."""
    if is_owned(info):
        return row > 0
    if info.meta.entity is None:
        return info.meta.table not in LINKS
    return info.meta.visible is Visible.ADMIN


#: tables that eve's answers lead through: what links public things to each other is public
LINKS = {hop.table for entity in ACCOUNTS.entities.values() for join in entity.joins.values() for hop in join.hops} | {
    shown.table for entity in ACCOUNTS.entities.values() for shown in entity.lists.values()
}


def key_of(info: RecordInfo, row: int, world: int) -> SqlValue:
    """A row's key: the same in all tables, but that of what others own differs between the worlds."""
    if info.key.reference is not None:
        return key_of(SCHEMA.target(info.record, info.key.reference), row, world)
    changed = 10 * world if is_owned(info) and row > 0 else 0
    return row + 1 + changed if info.key.kind is Kind.INT else f"row{row + changed}"


def value_of(info: RecordInfo, field: Field, row: int, world: int) -> SqlValue:
    if field.key is not None:
        return key_of(info, row, world)
    if field.owner:
        return "row0" if row == 0 else f"row{row + 10 * world}"
    if field.reference is not None:
        target = SCHEMA.target(info.record, field.reference)
        hangs = 1 if field.name == info.meta.owned_by else 0  # a row more of others, on what is eve's where it may be
        return key_of(target, hangs if row == 3 else row, world)
    if field.kind is Kind.ID and field.name.endswith("_uuid"):
        return "row0"  # whoever's the row is, it names something that eve knows
    hidden = is_secret(info, row) or field.admin_only or (field.hidden and field.name not in shown_rests(info))
    return plain(info, field, row, world if hidden else 0, world)


def shown_rests(info: RecordInfo) -> set[str]:
    """Sealed fields that inventories show to whom the row belongs, as the rest of another."""
    return {field.continued for field in info.fields if field.continued is not None}


def plain(info: RecordInfo, field: Field, row: int, variant: int, world: int) -> SqlValue:
    """A value of the field's kind that is another for each row and variant."""
    number = 100 * (row + 1) + variant
    match field.kind:
        case Kind.INT | Kind.TIME:
            return number
        case Kind.FLOAT:
            return float(number)
        case Kind.BOOL:
            return (row + variant) % 2
        case Kind.ENUM:
            return field.choices[(row + variant) % len(field.choices)]
        case Kind.BYTES:
            return str(number).encode()
        case Kind.JSON if field.type is ErrorRecord:
            error = CairnError("a.b", f"message {number}", operator=f"operator {row} {world}")
            return msgspec.json.encode(error.record()).decode()
        case Kind.JSON | Kind.OPAQUE:
            return msgspec.json.encode([f"{field.name} {number}"]).decode()
        case _:
            return f"{info.meta.table} {field.name} {number}"


def fill(tx: Tx, world: int) -> None:
    tx._connection.execute("PRAGMA defer_foreign_keys=ON", ())
    for info in SCHEMA.by_table.values():
        rows = [0, 1, 2]
        alone = info.meta.extends is None and info.key.reference is None and not info.meta.unique_together
        if world and alone and is_secret(info, 3):
            rows.append(3)  # there is more of what is secret
        for row in rows:
            if info.meta.extends is None or belongs(info, row):
                insert(tx, info, row, world)


def types_of(info: RecordInfo) -> list[str]:
    """The types of a parent's rows, by row."""
    entity = entity_of(info)
    kinds = sorted(entity.subtypes) if entity is not None else []
    return [kinds[row % len(kinds)] for row in range(4)] if kinds else []


def belongs(info: RecordInfo, row: int) -> bool:
    """Whether the parent's row is of the subtype."""
    extends = info.meta.extends
    assert extends is not None
    parent = SCHEMA.resolve(info.record, extends.parent)
    return types_of(parent)[row] == extends.value


def insert(tx: Tx, info: RecordInfo, row: int, world: int) -> None:
    values = {field.name: value_of(info, field, row, world) for field in info.fields}
    entity = entity_of(info)
    if entity is not None and entity.subtype_field is not None:
        column = next(field.name for field in info.fields if field.wire == entity.subtype_field)
        values[column] = types_of(info)[row]
    for rest in shown_rests(info):
        values[rest] = tx._statements.seals.seal_text(str(values[rest]), f"{info.meta.table}.{rest}")
    marks = ", ".join("?" * len(values))
    names = ", ".join(f'"{name}"' for name in values)
    tx._connection.execute(f'INSERT INTO "{info.meta.table}" ({names}) VALUES ({marks})', list(values.values()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds() -> AsyncIterator[list[QueryEngine]]:
    stores = []
    for world in WORLDS:
        store = await Store.memory(SCHEMA, VirtualClock(), inline=True)
        await store.write(lambda tx, world=world: fill(tx, world))  # type: ignore[misc]
        stores.append(store)
    yield [QueryEngine(SCHEMA, store, tags=TagTables()) for store in stores]
    for store in stores:
        await store.close()


async def learned(engine: QueryEngine, request: QueryRequest, scope: Scope = EVE) -> bytes:
    """All that the answer tells; of what is sealed, that it is there and how long it is."""
    try:
        answer = await engine.run(request, scope)
    except CairnError as error:
        return msgspec.json.encode(error.record().public())
    following = None if answer.next is None else "*" * len(answer.next)
    return msgspec.json.encode(msgspec.structs.replace(answer, next=following))


async def differ(worlds: list[QueryEngine], request: QueryRequest, scope: Scope = EVE) -> bool:
    one, other = [await learned(engine, request, scope) for engine in worlds]
    return one != other


def conditions(entity: Entity) -> Iterator[str]:
    """Conditions on each field of an entity that compare with what is in either world."""
    for column in entity.columns.values():
        info = column_table(entity, column.name)
        yield f"{column.name} not null"
        for world in WORLDS:
            for row in (0, 1):
                value = str(value_of(info, column.field, row, world)) if info is not None else f"row{row}"
                yield f"{column.name}={value}"
                yield f"{column.name}>{value}"
        for pattern in ("%0%", "%1%", "%operator 0 1%"):
            yield f"{column.name}~={pattern}"


def column_table(entity: Entity, name: str) -> RecordInfo | None:
    for info in (entity.info, entity.base):
        if any(field.wire == name for field in info.fields):
            return info
    return None


def ways(entity: Entity) -> Mapping[str, Entity]:
    return {name: EVERYTHING.entities[join.target] for name, join in entity.joins.items()}


@pytest.mark.parametrize("name", NAMES)
async def test_lists_counts_pages_and_sorting_tell_nothing_of_others(name: str, worlds: list[QueryEngine]) -> None:
    entity = EVERYTHING.entities[name]
    known = EVERYTHING.shown(entity)
    requests = [
        QueryRequest(entity=name, reply_with_count=True),
        QueryRequest(entity=name, limit=1, start=1, reply_with_count=True),
        *(QueryRequest(entity=name, sort=f"{sign}{field}") for field in known for sign in "+-"),
        *(QueryRequest(entity=name, fields=[field]) for field in known),
    ]
    assert [request for request in requests if await differ(worlds, request)] == []


@pytest.mark.parametrize("name", NAMES)
async def test_conditions_on_every_field_tell_nothing_of_others(name: str, worlds: list[QueryEngine]) -> None:
    entity = EVERYTHING.entities[name]
    for condition in conditions(entity):
        assert not await differ(worlds, QueryRequest(entity=name, conditions=[condition], fields=[entity.key.wire]))


@pytest.mark.parametrize("name", NAMES)
async def test_conditions_behind_every_join_tell_nothing_of_others(name: str, worlds: list[QueryEngine]) -> None:
    for way, there in ways(EVERYTHING.entities[name]).items():
        for condition in conditions(there):
            request = QueryRequest(entity=name, conditions=[f"{way}.{condition}"], count=True)
            assert not await differ(worlds, request), request


@pytest.mark.parametrize("name", NAMES)
async def test_each_resource_of_others_is_as_unknown_as_one_that_is_not_there(
    name: str, worlds: list[QueryEngine]
) -> None:
    for engine in worlds:
        for row in ("row1", "row2", "row11", "row13"):
            info = EVERYTHING.entities[name].info
            if name in ACCOUNTS.entities and (is_owned(info) or is_secret(EVERYTHING.entities[name].base, 1)):
                assert await engine.get(name, row, EVE) is None


@settings(max_examples=400, deadline=None)
@given(data=st.data())
async def test_longer_paths_tell_nothing_of_others(data: st.DataObject, worlds: list[QueryEngine]) -> None:
    name = data.draw(st.sampled_from(NAMES))
    asked: list[str] = []
    for _ in range(data.draw(st.integers(1, 2))):
        here, path = EVERYTHING.entities[name], ""
        for _ in range(data.draw(st.integers(1, 4))):
            if ways(here):
                way = data.draw(st.sampled_from(sorted(ways(here))))
                here, path = ways(here)[way], f"{path}{way}."
        asked.append(path + data.draw(st.sampled_from(list(conditions(here)))))
    request = QueryRequest(entity=name, conditions=asked, reply_with_count=True)
    assert not await differ(worlds, request), request


async def test_the_worlds_differ_for_administrators_and_eve_sees_what_is_hers(worlds: list[QueryEngine]) -> None:
    differing = [name for name in NAMES if await differ(worlds, QueryRequest(entity=name), Scope())]
    hers = [name for name in NAMES if b'"inventories":[{' in await learned(worlds[0], QueryRequest(entity=name))]
    assert {"VmInstance", "Job", "Host", "UsedIp", "WorkflowRun", "SystemTag", "Account"} <= set(differing)
    assert sorted(hers) == sorted(ACCOUNTS.entities)
    (job,) = cast("list[dict[str, dict[str, str]]]", (await worlds[0].run(QueryRequest(entity="Job"), EVE)).inventories)
    assert job["error"] == {"code": "a.b", "kind": "invalid", "message": "message 100"}
