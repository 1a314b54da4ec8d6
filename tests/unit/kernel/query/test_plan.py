"""Which SQL is made, and that SQLite goes by its indexes."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import L3, Host, HostId, VmId, VmInstance, VmNic, ZoneId, zone

from cairn.kernel.query import QueryEngine, QueryRequest, Scope, plan
from cairn.kernel.query.catalog import Catalog
from cairn.kernel.query.condition import parse
from cairn.kernel.query.engine import EVERYTHING
from cairn.kernel.query.plan import Planner
from cairn.kernel.query.resolve import resolve
from cairn.kernel.store import Store, Tx
from cairn.testing.clock import VirtualClock


async def plans(
    store: Store, engine: QueryEngine, request: QueryRequest, scope: Scope = EVERYTHING
) -> list[tuple[str, str]]:
    """Each statement that a query runs, with SQLite's plan for it."""
    seen: list[tuple[str, str]] = []

    def work(tx: Tx) -> None:
        class Spy:
            def fetch(self, sql: str, values: tuple[object, ...]) -> object:
                steps = tx.fetch(f"EXPLAIN QUERY PLAN {sql}", values)  # type: ignore[arg-type]
                seen.append((sql, "; ".join(str(step[3]) for step in steps)))
                return tx.fetch(sql, values)  # type: ignore[arg-type]

            def fetch_within(self, sql: str, values: tuple[object, ...], steps: int) -> object:
                self.fetch(sql, values)
                return tx.fetch_within(sql, values, steps)  # type: ignore[arg-type]

        engine.run_in(Spy(), request, scope)  # type: ignore[arg-type]

    await store.read(work)
    return seen


def many(tx: Tx) -> None:
    """300 more VMs on one network."""
    for number in range(300):
        tx.insert(VmInstance(uuid=VmId(f"x{number}"), name=f"x{number}", account_uuid="ann"))
        tx.insert(VmNic(uuid=f"m{number}", vm_uuid=VmId(f"x{number}"), l3_network_uuid="l1"))
    tx.insert(L3(uuid="l9", name="rare"))
    tx.insert(VmNic(uuid="rare", vm_uuid=VmId("x7"), l3_network_uuid="l9"))


@pytest.fixture
async def large(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Enough rows that some conditions are rare and others are not."""
    monkeypatch.setattr(plan, "RARE", 50)
    await store.write(many)
    await store.optimize()
    return store


async def test_a_query_begins_with_a_rare_condition(large: Store, engine: QueryEngine) -> None:
    request = QueryRequest(entity="VmInstance", conditions=["state=Enabled", "vmNics.l3Network.name=rare"])
    *_, (page, how), _base, _nics, _volumes = await plans(large, engine, request)
    assert "CROSS JOIN" in page
    assert "SCAN a" not in how
    assert "USING INDEX ix_l3_network_name" in how or "USING COVERING INDEX ix_l3_network_name" in how


async def test_a_query_begins_with_the_entity_when_many_rows_fit(large: Store, engine: QueryEngine) -> None:
    request = QueryRequest(entity="VmInstance", conditions=["vmNics.l3Network.name=flat"], limit=5)
    statements = await plans(large, engine, request)
    probe, page = statements[0], statements[1]
    assert probe[0].count("LIMIT 51)") == 3
    assert "SELECT DISTINCT" not in page[0]
    assert "SCAN a" in page[1]
    assert "TEMP B-TREE" not in page[1]


async def test_sorting_by_an_indexed_field_walks_its_index_past_conditions_that_many_rows_fit(
    large: Store, engine: QueryEngine
) -> None:
    request = QueryRequest(entity="VmInstance", conditions=["state=Enabled"], sort="-name", limit=5)
    page = (await plans(large, engine, request))[1]
    assert "ix_vm_instance_name" in page[1]
    assert "TEMP B-TREE" not in page[1]


async def test_a_plain_condition_uses_its_index_and_needs_no_sorting(large: Store, engine: QueryEngine) -> None:
    for condition, index in (("name=x7", "ix_vm_instance_name"), ("state=Enabled", "ix_vm_instance_state")):
        page = (await plans(large, engine, QueryRequest(entity="VmInstance", conditions=[condition])))[0]
        assert index in page[1]
        assert "TEMP B-TREE" not in page[1]


async def test_a_prefix_pattern_uses_the_index(large: Store, engine: QueryEngine) -> None:
    page = (await plans(large, engine, QueryRequest(entity="VmInstance", conditions=["name~=x1%"])))[0]
    assert "ix_vm_instance_name" in page[1]


async def test_the_key_at_the_end_of_a_path_needs_no_last_hop(large: Store, engine: QueryEngine) -> None:
    page = (await plans(large, engine, QueryRequest(entity="VmNic", conditions=["vm.host.uuid!=h2"])))[0]
    assert '"host"' not in page[0]
    assert " host " not in page[0]


async def test_an_owner_is_looked_at_in_every_hop_even_then(large: Store, engine: QueryEngine) -> None:
    request = QueryRequest(entity="VmNic", conditions=["vm.uuid!=v2"])
    page = next(sql for sql, _ in await plans(large, engine, request, Scope("ann")) if " FROM vm_nic a " in sql)
    assert page.count("account_uuid = ?") == 2


async def test_a_count_over_joins_begins_at_their_end(large: Store, engine: QueryEngine) -> None:
    request = QueryRequest(entity="VmNic", conditions=["l3Network.name=flat"], count=True)
    *_, (count, how) = await plans(large, engine, request)
    assert "EXISTS" not in count
    assert "SCAN" not in how


async def test_a_bare_count_has_no_conditions(large: Store, engine: QueryEngine) -> None:
    ((count, _),) = await plans(large, engine, QueryRequest(entity="VmInstance", count=True))
    assert "WHERE" not in count


async def test_a_state_does_not_lead_where_anything_else_can(large: Store, engine: QueryEngine) -> None:
    request = QueryRequest(entity="VmInstance", conditions=["state=Enabled"], count=True)
    *_, (_, alone) = await plans(large, engine, request)
    *_, (_, owned) = await plans(large, engine, request, Scope("ann"))
    assert "ix_vm_instance_state" in alone
    assert "ix_vm_instance_account_uuid" in owned


@pytest.mark.parametrize("request_", [{"count": True}, {"limit": 5}, {"limit": 5, "sort": "-ip"}])
async def test_an_account_s_part_is_found_from_the_account(
    large: Store, engine: QueryEngine, request_: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "RARE", 5_000)
    request = QueryRequest(entity="VmNic", **request_)  # type: ignore[arg-type]
    statements = await plans(large, engine, request, Scope("bob"))
    asked = [how for sql, how in statements if " c WHERE " not in sql]
    assert all("ix_vm_instance_account_uuid" in how and "SCAN a" not in how for how in asked[-1:])


async def test_lists_inside_are_found_by_their_keys_and_not_by_their_owner(large: Store, engine: QueryEngine) -> None:
    statements = await plans(large, engine, QueryRequest(entity="VmInstance", limit=5), Scope("ann"))
    lists = [how for sql, how in statements if " c WHERE " in sql]
    assert len(lists) == 3
    assert not any("account_uuid" in how for how in lists)


@pytest.mark.parametrize("sort", [None, "name", "-name", "hostUuid", "-hostUuid"])
async def test_a_page_behind_another_is_a_stretch_of_an_index(
    large: Store, engine: QueryEngine, sort: str | None
) -> None:
    first = await engine.run(QueryRequest(entity="VmInstance", sort=sort, limit=200))
    request = QueryRequest(entity="VmInstance", sort=sort, limit=50, after=first.next)
    pages = [how for sql, how in await plans(large, engine, request) if " c WHERE " not in sql]
    assert pages
    assert not any("SCAN a" in how or "TEMP B-TREE" in how for how in pages)


async def test_whether_a_condition_is_rare_is_found_out_without_a_look_at_who_owns_the_rows(
    large: Store, engine: QueryEngine
) -> None:
    request = QueryRequest(entity="VmNic", conditions=["vm.host.name=alpha"])
    probes = [sql for sql, _ in await plans(large, engine, request, Scope("bob")) if "SELECT 1 FROM (SELECT 1" in sql]
    assert probes
    assert not any("EXISTS" in sql for sql in probes)
    assert probes[0].count("account_uuid = ?") <= 1


async def test_hints_are_the_database_s_own(large: Store, engine: QueryEngine) -> None:
    class Other:
        row_order = None

        class dialect:  # noqa: N801 (stands for an object)
            name = "mariadb"
            identifier_preparer = large.driver.dialect.identifier_preparer

    catalog = Catalog(large.schema, sample.TAGS)
    planner = Planner(catalog, Other(), Scope("ann"), None)  # type: ignore[arg-type]
    entity = catalog.entities["VmInstance"]
    condition = resolve(catalog, entity, parse("vmNics.l3Network.name=flat"))
    texts = [
        planner.probe(entity, condition).text,
        planner.count(entity, [condition], condition).text,
        planner.count(entity, [condition], None, 7).text,
        planner.page(entity, [condition], None, None, 1, 0).text,
        planner.page(entity, [condition], None, None, 1, 0, whole=False).text,
    ]
    for text in texts:
        assert not re.search(r"MATERIALIZED|CROSS JOIN|rowid|[ (,]\+", text), text
    assert any("STRAIGHT_JOIN" in text for text in texts)


THERE_AND_BACK = ["host.vmInstances." * turns + "name!~=%" for turns in (1, 2, 3)]


async def steps_of(path: Path, vms: int, condition: str, scope: Scope = EVERYTHING) -> list[int]:
    """How many steps of SQLite's machine each statement of a query takes that finds nothing, with so many VMs on one host."""
    store = await Store.open(path / f"{vms}.db", sample.schema(), VirtualClock(), create_tables=True)

    def fill(tx: Tx) -> None:
        if tx.count(Host):
            return
        tx.insert(zone(1))
        tx.insert(Host(uuid=HostId("h1"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z1"), memory=1))
        tx.insert_many(
            VmInstance(uuid=VmId(f"v{n}"), name=f"v{n}", account_uuid="ann", host_uuid=HostId("h1")) for n in range(vms)
        )

    await store.write(fill)
    engine = QueryEngine(store.schema, store, tags=sample.TAGS)
    raw = sqlite3.connect(path / f"{vms}.db", check_same_thread=False)
    steps: list[int] = []

    def count() -> int:
        steps[-1] += 100
        return 0

    raw.set_progress_handler(count, 100)

    def work(tx: Tx) -> None:
        class Meter:
            def fetch(self, sql: str, values: tuple[object, ...]) -> object:
                steps.append(0)
                return raw.execute(sql, values).fetchall()

            def fetch_within(self, sql: str, values: tuple[object, ...], steps: int) -> None:
                return None  # too long, whatever it takes

        request = QueryRequest(entity="VmInstance", conditions=[condition], limit=1)
        assert engine.run_in(Meter(), request, scope).inventories == []  # type: ignore[arg-type]

    await store.read(work)
    raw.close()
    await store.close()
    return steps


@pytest.mark.parametrize("condition", THERE_AND_BACK)
@pytest.mark.parametrize("scope", [EVERYTHING, Scope("ann")])
async def test_a_path_there_and_back_costs_a_walk_through_each_table_not_their_product(
    condition: str, scope: Scope, tmp_path: Path
) -> None:
    few, many = [sum(await steps_of(tmp_path, vms, condition, scope)) for vms in (100, 1000)]
    assert few < many < 12 * few
    longer = sum(await steps_of(tmp_path, 1000, condition.replace("host", "host.vmInstances.host", 1), scope))
    assert longer < 3 * many


async def test_a_condition_that_few_rows_fit_does_not_spread_from_its_end(tmp_path: Path) -> None:
    condition = "vmInstances.vmNics.vm.host.vmInstances.host.vmInstances.name=v1"
    store = await Store.memory(sample.schema(), VirtualClock(), inline=True)
    engine = QueryEngine(store.schema, store, tags=sample.TAGS)
    ((probe, _), *_) = await plans(store, engine, QueryRequest(entity="Host", conditions=[condition]))
    assert probe.count("SELECT DISTINCT k") == probe.count("LIMIT 5001)") - 1 == 7
    await store.close()


async def test_rows_of_one_place_each_are_tried_from_the_first_one_on(large: Store, engine: QueryEngine) -> None:
    quick, *_ = await plans(large, engine, QueryRequest(entity="VmNic", conditions=["vm.volumes.size!=7"], limit=5))
    assert " IN " not in quick[0]
    assert "SCAN a" in quick[1]


async def test_where_that_takes_too_long_a_set_is_made_once(large: Store, engine: QueryEngine) -> None:
    def work(tx: Tx) -> list[str]:
        seen: list[str] = []

        class Impatient:
            def fetch(self, sql: str, values: tuple[object, ...]) -> object:
                seen.append(sql)
                return tx.fetch(sql, values)  # type: ignore[arg-type]

            def fetch_within(self, sql: str, values: tuple[object, ...], steps: int) -> None:
                assert steps == plan.PATIENCE

        engine.run_in(Impatient(), QueryRequest(entity="VmNic", conditions=["vm.volumes.size!=7"]))  # type: ignore[arg-type]
        return seen

    page = (await large.read(work))[0]
    assert page.startswith("WITH w1(k) AS MATERIALIZED (")
    assert "+a.vm_uuid IN (SELECT k FROM w1)" in page


async def test_the_longest_paths_that_are_allowed_can_be_run(engine: QueryEngine) -> None:
    conditions = ["vm.host.vmInstances.vmNics.vm.host.vmInstances.vmNics.ip!=x"] * 4
    for scope in (EVERYTHING, Scope("ann")):
        for condition in ("vm.rootVolume.vm.rootVolume.vm.rootVolume.vm.rootVolume.size>1", *conditions):
            answer = await engine.run(
                QueryRequest(entity="VmNic", conditions=[condition] * 4, reply_with_count=True), scope
            )
            assert answer.total is not None
