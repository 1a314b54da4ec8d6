"""Which SQL is made, and that SQLite goes by its indexes."""

from __future__ import annotations

import pytest
from tests.unit.kernel.sample import L3, VmId, VmInstance, VmNic

from cairn.kernel.query import QueryEngine, QueryRequest, Scope, plan
from cairn.kernel.query.engine import EVERYTHING
from cairn.kernel.store import Store, Tx


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
    assert probe[0].endswith("LIMIT 1 OFFSET 50")
    assert "CROSS JOIN" not in page[0]
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
    page = (await plans(large, engine, request, Scope("ann")))[0]
    assert page[0].count("account_uuid = ?") == 2
