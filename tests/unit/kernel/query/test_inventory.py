"""Inventories, read by key from the little cloud of `conftest.fill`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Annotated, ClassVar, cast

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.query.conftest import fill

from cairn.kernel.query import QueryEngine, QueryRequest, Scope
from cairn.kernel.query.catalog import Catalog
from cairn.kernel.query.inventory import Inventory, InventoryReader
from cairn.kernel.query.plan import Planner
from cairn.kernel.store.driver import Row
from cairn.kernel.store.record import Key, Owner, Record, References, SqlValue, TableMeta, Unique, Visible
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock


class Counted:
    """A transaction that counts its statements."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.statements = 0

    def fetch(self, sql: str, values: Sequence[SqlValue]) -> list[Row]:
        self.statements += 1
        return self.tx.fetch(sql, values)


class Reading:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.catalog = Catalog(store.schema, sample.TAGS)
        self.reader = InventoryReader(self.catalog, store.driver, store.seals)
        self.statements = 0

    async def read(self, entity: str, keys: Sequence[str], fields: Collection[str] = ()) -> list[Inventory]:
        def fn(tx: Tx) -> list[Inventory]:
            counted = Counted(tx)
            planner = Planner(self.catalog, self.store.driver, Scope(), None)
            found = self.reader.read(cast("Tx", counted), planner, self.catalog.entities[entity], keys, fields)
            self.statements = counted.statements
            return found

        return await self.store.read(fn)

    async def keys(self, record: type[sample.Host] | type[sample.VmInstance]) -> list[str]:
        return sorted(str(row.uuid) for row in await self.store.read(lambda tx: tx.find(record)))


@pytest.fixture
def reading(store: Store) -> Reading:
    return Reading(store)


async def test_inventories_come_in_the_order_of_their_keys_and_missing_ones_are_left_out(reading: Reading) -> None:
    keys = (await reading.keys(sample.Host))[::-1]
    found = await reading.read("Host", [keys[0], "gone", *keys[1:]])
    assert [one["uuid"] for one in found] == keys


async def test_no_keys_need_no_statement(reading: Reading) -> None:
    assert await reading.read("Host", []) == []
    assert reading.statements == 0


async def test_statements_do_not_grow_with_rows(reading: Reading) -> None:
    keys = await reading.keys(sample.VmInstance)
    assert len(keys) > 1
    await reading.read("VmInstance", keys[:2])
    some = reading.statements
    await reading.read("VmInstance", keys * 3)
    assert reading.statements == some


async def test_only_the_fields_that_are_wanted_are_shown(reading: Reading) -> None:
    (key, *_) = await reading.keys(sample.Host)
    (found,) = await reading.read("Host", [key], {"name"})
    assert set(found) == {"name"}
    (whole,) = await reading.read("Host", [key])
    assert {"name", "uuid", "zoneUuid", "vms", "hypervisorType"} <= set(whole)


async def test_a_kvm_host_shows_what_its_kind_adds_and_no_secret_is_shown(reading: Reading) -> None:
    keys = await reading.keys(sample.Host)
    found = await reading.read("Host", keys)
    for host in found:
        assert ("username" in host) is (host["hypervisorType"] == "KVM")
    zones = await reading.read("Zone", sorted({str(host["zoneUuid"]) for host in found}))
    assert zones
    assert all("secret" not in zone for zone in zones)


async def test_lists_are_there_also_where_they_are_empty(reading: Reading) -> None:
    found = await reading.read("VmInstance", await reading.keys(sample.VmInstance))
    assert all(isinstance(vm["vmNics"], list) for vm in found)
    assert any(vm["vmNics"] for vm in found)
    assert any(not vm["vmNics"] for vm in found)


class Warranty(Record, frozen=True, kw_only=True):
    """What a plugin knows of a VM."""

    meta: ClassVar[TableMeta] = TableMeta(table="warranty", entity="Warranty", owned_by="vm_uuid")

    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[str, References("vm_instance", join="vm", back="warranty", shown=True), Unique()]
    tier: str


class Repair(Record, frozen=True, kw_only=True):
    """There are several of a VM, of different owners."""

    meta: ClassVar[TableMeta] = TableMeta(table="repair", entity="Repair")

    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[str, References("vm_instance", back="repairs", shown=True)]
    account_uuid: Annotated[str, Owner()]


class Price(Record, frozen=True, kw_only=True):
    """Only administrators see it."""

    meta: ClassVar[TableMeta] = TableMeta(table="price", entity="Price", visible=Visible.ADMIN)

    uuid: Annotated[str, Key()]
    vm_uuid: Annotated[str, References("vm_instance", back="price", shown=True), Unique()]


def _more(tx: Tx) -> None:
    fill(tx)
    tx.insert(Warranty(uuid="w1", vm_uuid="v2", tier="gold"))
    tx.insert_many([Repair(uuid=f"r{n}", vm_uuid="v2", account_uuid=who) for n, who in ((2, "ann"), (1, "bob"))])
    tx.insert(Price(uuid="p1", vm_uuid="v2"))


@pytest.fixture
async def larger() -> AsyncIterator[Store]:
    """The little cloud, with what a plugin adds."""
    schema = Schema([*sample.RECORDS, Warranty, Repair, Price])
    made = await Store.memory(schema, VirtualClock(), inline=True)
    await made.write(_more)
    yield made
    await made.close()


async def test_rows_that_are_shown_beside_another_are_in_its_inventory(larger: Store) -> None:
    web, other = await Reading(larger).read("VmInstance", ["v2", "v1"])
    assert web["warranty"] == {"uuid": "w1", "vmUuid": "v2", "tier": "gold"}
    assert [row["uuid"] for row in cast("list[Inventory]", web["repairs"])] == ["r2", "r1"]
    assert (other["warranty"], other["repairs"], other["price"]) == (None, [], None)


async def test_what_is_shown_beside_costs_a_statement_for_a_page(larger: Store) -> None:
    reading = Reading(larger)
    await reading.read("VmInstance", ["v1", "v2", "v3"], {"uuid"})
    without = reading.statements
    await reading.read("VmInstance", ["v1", "v2", "v3"], {"uuid", "warranty"})
    assert reading.statements == without + 1


async def test_what_is_shown_beside_can_be_asked_for_and_by(larger: Store) -> None:
    engine = QueryEngine(larger.schema, larger, tags=sample.TAGS)
    page = await engine.run(
        QueryRequest(entity="VmInstance", conditions=["warranty.tier=gold"], fields=["name", "warranty"])
    )
    assert [(row["name"], cast("Inventory", row["warranty"])["tier"]) for row in page.inventories or []] == [
        ("Web", "gold")
    ]


async def test_accounts_see_beside_their_own_only_what_they_may_see(larger: Store) -> None:
    engine = QueryEngine(larger.schema, larger, tags=sample.TAGS)
    page = await engine.run(QueryRequest(entity="VmInstance", conditions=["uuid=v2"]), Scope("ann"))
    (web,) = page.inventories or []
    assert cast("Inventory", web["warranty"])["tier"] == "gold"
    assert [row["uuid"] for row in cast("list[Inventory]", web["repairs"])] == ["r2"]
    assert "price" not in web
