"""Inventories, read by key from the little cloud of `conftest.fill`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import pytest
from tests.unit.kernel import sample

from cairn.kernel.query.catalog import Catalog
from cairn.kernel.query.inventory import Inventory, InventoryReader
from cairn.kernel.query.plan import Planner, Scope
from cairn.kernel.store.driver import Row
from cairn.kernel.store.record import SqlValue
from cairn.kernel.store.store import Store, Tx


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
