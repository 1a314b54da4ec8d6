from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.query.conftest import SHARES

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.query import QueryAnswer, QueryEngine, QueryRequest, Scope
from cairn.kernel.store import Store, Tx


async def uuids(
    engine: QueryEngine, entity: str, *conditions: str, owner: str | None = None, **more: object
) -> list[object]:
    request = QueryRequest(entity=entity, conditions=conditions, **more)  # type: ignore[arg-type]
    answer = await engine.run(request, Scope(owner))
    assert answer.inventories is not None
    return [one["uuid"] for one in answer.inventories]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ((), ["v2", "v1", "v3"]),
        (("name=web",), ["v2"]),
        (("name!=web",), ["v1", "v3"]),
        (("uuid=V1",), []),
        (("name~=web%",), ["v2", "v3"]),
        (("name~=%",), ["v2", "v1", "v3"]),
        (("name~=___",), ["v2"]),
        ((r"name~=%\_%",), ["v1"]),
        (("name!~=%e%",), ["v1"]),
        (("uuid?=v1,v3",), ["v1", "v3"]),
        (("uuid!?=v1,v3",), ["v2"]),
        (("cpuNum>1",), ["v2", "v1"]),
        (("cpuNum>=4",), ["v1"]),
        (("cpuNum<2",), ["v3"]),
        (("cpuNum<=2", "name~=w%"), ["v2", "v3"]),
        (("cpuNum=2.0",), ["v2"]),
        (("state=enabled",), ["v2", "v1"]),
        (("state!=Enabled",), ["v3"]),
        (("hostUuid is null",), ["v3"]),
        (("hostUuid not null",), ["v2", "v1"]),
        (("hostUuid!=h1",), ["v1"]),
        (("createDate=2026-01-01T00:00:00Z",), ["v2", "v1", "v3"]),
        (("createDate>2026-01-01 00:00:00",), []),
        (("createDate<2026-01-01T08:00:00.000001+08:00",), ["v2", "v1", "v3"]),
        (("vmNics.ip=10.0.0.5",), ["v2"]),
        (("vmNics.ip is null",), ["v1"]),
        (("vmNics.l3Network.name=FLAT",), ["v2", "v1"]),
        (("vmNics.l3Network.uuid=l2",), ["v2"]),
        (("vmNics.ip=10.0.0.5", "vmNics.l3Network.name=vxlan"), ["v2"]),
        (("host.zone.name=zone 1",), ["v2"]),
        (("host.uuid=h2",), ["v1"]),
        (("host.uuid!=h2",), ["v2"]),
        (("host.uuid is null",), []),
        (("rootVolume.size=10",), ["v2"]),
        (("volumes.rootOf.name=web",), ["v2"]),
        (("host.vmInstances.vmNics.l3Network.vmNics.vm.name=db_1",), ["v2", "v1"]),
        (("__systemTag__=hostname::web",), ["v2"]),
        (("__systemTag__!=hostname::web",), ["v1", "v3"]),
        (("__systemTag__~=hostname::%",), ["v2"]),
        (("__systemTag__!~=hostname::%",), ["v1", "v3"]),
        (("__systemTag__ is null",), ["v1", "v3"]),
        (("__userTag__ not null",), ["v1"]),
        (("__userTag__?=gold,silver",), ["v1"]),
        (("__userTag__!?=gold,silver",), ["v2", "v3"]),
        (("host.__systemTag__=x",), ["v2"]),
        (("host.__systemTag__!=x",), ["v1"]),
    ],
)
async def test_conditions_find_what_they_say(
    engine: QueryEngine, conditions: tuple[str, ...], found: list[str]
) -> None:
    assert await uuids(engine, "VmInstance", *conditions) == found


@pytest.mark.parametrize(
    ("entity", "condition", "found"),
    [
        ("Storage", "attachedHostUuids=h1", ["s1"]),
        ("Storage", "attachedHostUuids!=h1", ["s2"]),
        ("Storage", "attachedHostUuids is null", ["s2"]),
        ("Storage", "host.name=beta", ["s1"]),
        ("Storage", "theURL=/a", []),
        ("Storage", "theURL=/A", ["s1"]),
        ("Host", "vms.name=web", ["h1"]),
        ("Host", "zone.open=true", ["h1", "h2", "h3"]),
        ("Zone", "open!=TRUE", []),
        ("Zone", "limits~=%r1%", ["z1"]),
        ("Zone", "photo not null", ["z1"]),
        ("Zone", "hosts.memory>20", ["z1"]),
        ("Zone", "load<0.5", ["z1", "z2"]),
        ("KVMHost", "username=root", ["h1"]),
        ("KVMHost", "gateway.name=alpha", ["h2"]),
        ("Host", "gatewayOf.username=admin", ["h1"]),
        ("Host", "gatewayOf.zone.name=zone 2", ["h1"]),
    ],
)
async def test_every_kind_of_join_and_field_can_be_asked(
    engine: QueryEngine, entity: str, condition: str, found: list[str]
) -> None:
    assert await uuids(engine, entity, condition) == found


async def test_a_condition_that_fixes_the_type_makes_the_subtypes_fields_usable(engine: QueryEngine) -> None:
    assert await uuids(engine, "Host", "hypervisorType=kvm", "username=admin") == ["h2"]
    with pytest.raises(CairnError, match="more fields with hypervisorType= one of KVM"):
        await uuids(engine, "Host", "username=admin")


async def test_inventories_of_the_parent_and_of_the_subtype_have_the_subtypes_fields(engine: QueryEngine) -> None:
    hosts = (await engine.run(QueryRequest(entity="Host", sort="name"))).inventories
    assert hosts is not None
    assert [host.get("username") for host in hosts] == ["root", "admin", None]
    assert "username" not in hosts[2]
    assert await uuids(engine, "KVMHost", sort="-username") == ["h1", "h2"]
    assert await engine.get("KVMHost", "h2") == hosts[1]
    assert await engine.get("KVMHost", "h3") is None


async def test_an_inventory_has_lists_of_children_and_no_secrets(engine: QueryEngine) -> None:
    vm = await engine.get("VmInstance", "v2")
    assert vm is not None
    assert [(nic["uuid"], nic["ip"], nic["l3NetworkUuid"]) for nic in vm["vmNics"]] == [  # type: ignore[attr-defined]
        ("n1", "10.0.0.5", "l1"),
        ("n2", "10.1.0.5", "l2"),
    ]
    assert [volume["size"] for volume in vm["volumes"]] == [10]  # type: ignore[attr-defined]
    assert vm["createDate"] == sample.START
    assert (await engine.get("Storage", "s1")) == {"uuid": "s1", "theURL": "/A", "attachedHostUuids": ["h2", "h1"]}
    zone = await engine.get("Zone", "z1")
    assert zone is not None
    assert zone["open"] is True
    assert zone["limits"] == {"maxHosts": 0, "racks": ["r1"]}
    assert "secret" not in zone
    assert await engine.get("Zone", "none") is None


async def test_children_of_children_are_shown_too_in_their_order(engine: QueryEngine) -> None:
    host = await engine.get("Host", "h1")
    assert host is not None
    vms = host["vms"]
    assert isinstance(vms, list)
    assert [[nic["uuid"] for nic in vm["vmNics"]] for vm in vms] == [["n1", "n2"]]
    alone = await engine.get("Host", "h3")
    assert alone is not None
    assert alone["vms"] == []


async def test_fields_limit_what_is_shown_also_to_lists_and_subtypes_fields(engine: QueryEngine) -> None:
    async def shown(entity: str, *fields: str) -> QueryAnswer:
        return await engine.run(QueryRequest(entity=entity, fields=fields))

    assert (await shown("L3Network", "name")).inventories == [{"name": "flat"}, {"name": "vxlan"}]
    assert (await shown("Host", "username")).inventories == [{"username": "root"}, {"username": "admin"}, {}]
    vms = (await shown("VmInstance", "uuid", "volumes")).inventories
    assert vms is not None
    assert [sorted(vm) for vm in vms] == [["uuid", "volumes"]] * 3
    with pytest.raises(CairnError, match=r"no field 'nmae'.*Did you mean 'name'") as caught:
        await shown("VmInstance", "nmae")
    assert caught.value.code == "query.unknown-field"


async def test_sort_limit_and_start_page_through_in_a_fixed_order(engine: QueryEngine) -> None:
    assert await uuids(engine, "VmInstance", sort="name") == ["v1", "v2", "v3"]
    assert await uuids(engine, "VmInstance", sort="+name", limit=2) == ["v1", "v2"]
    assert await uuids(engine, "VmInstance", sort="-name", limit=2, start=1) == ["v2", "v1"]
    assert await uuids(engine, "VmInstance", sort="-createDate") == ["v3", "v1", "v2"]
    assert await uuids(engine, "VmInstance", sort="hostUuid") == ["v3", "v2", "v1"]
    assert await uuids(engine, "VmInstance", limit=0) == []


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("sort", [None, "name", "-name", "hostUuid", "-hostUuid", "-createDate", "state", "cpuNum"])
@pytest.mark.parametrize(("conditions", "owner"), [((), None), ((), "ann"), (("host.name not null",), None)])
async def test_a_page_goes_on_where_the_one_before_ended(
    engine: QueryEngine,
    sort: str | None,
    conditions: tuple[str, ...],
    owner: str | None,
    whole: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if whole:
        monkeypatch.setattr(Tx, "fetch_within", lambda *_: None)
    at_once = await uuids(engine, "VmInstance", *conditions, owner=owner, sort=sort)
    found: list[object] = []
    after: str | None = None
    while True:
        request = QueryRequest(entity="VmInstance", conditions=conditions, sort=sort, limit=1, after=after)
        answer = await engine.run(request, Scope(owner))
        found += [one["uuid"] for one in answer.inventories or []]
        after = answer.next
        if after is None:
            break
    assert found == at_once


async def test_a_subtypes_field_can_be_paged_by(engine: QueryEngine) -> None:
    request = QueryRequest(entity="KVMHost", sort="-username", limit=1)
    first = await engine.run(request)
    second = await engine.run(QueryRequest(entity="KVMHost", sort="-username", limit=1, after=first.next))
    assert [one["uuid"] for one in [*(first.inventories or []), *(second.inventories or [])]] == ["h1", "h2"]
    assert second.next is None


async def test_what_is_made_and_removed_meanwhile_shifts_no_page(engine: QueryEngine, store: Store) -> None:
    first = await engine.run(QueryRequest(entity="Zone", sort="name", limit=1))

    def change(tx: Tx) -> None:
        tx.insert(sample.zone(0))
        tx.insert(sample.zone(3))

    await store.write(change)
    assert await uuids(engine, "Zone", sort="name", after=first.next) == ["z2", "z3"]


async def test_a_page_of_another_order_is_refused(engine: QueryEngine) -> None:
    first = await engine.run(QueryRequest(entity="Zone", sort="name", limit=1))
    for sort, start, code in (("-name", 0, "query.bad-after"), ("name", 1, "query.bad-limit")):
        with pytest.raises(CairnError) as caught:
            await engine.run(QueryRequest(entity="Zone", sort=sort, start=start, after=first.next))
        assert caught.value.code == code


async def test_a_count_goes_no_further_than_asked(engine: QueryEngine) -> None:
    for most, total in ((2, 2), (3, 3), (4, 3)):
        request = QueryRequest(entity="VmInstance", conditions=["name~=%"], count=True, count_up_to=most)
        assert (await engine.run(request)).total == total


async def test_an_account_counts_what_belongs_to_its_own(engine: QueryEngine) -> None:
    for owner, total in (("ann", 2), ("bob", 1), ("nobody", 0)):
        assert (await engine.run(QueryRequest(entity="VmNic", count=True), Scope(owner))).total == total


async def test_count_and_reply_with_count_tell_how_many_fit_in_all(engine: QueryEngine) -> None:
    only = await engine.run(QueryRequest(entity="VmInstance", conditions=["vmNics.ip not null"], count=True))
    assert only == QueryAnswer(inventories=None, total=1)
    both = await engine.run(QueryRequest(entity="VmInstance", limit=1, reply_with_count=True))
    assert both.total == 3
    assert both.inventories is not None
    assert len(both.inventories) == 1


async def test_an_account_sees_only_its_own_at_every_hop(engine: QueryEngine) -> None:
    assert await uuids(engine, "VmInstance", owner="ann") == ["v2", "v3"]
    assert await uuids(engine, "VmNic", owner="ann") == ["n1", "n2"]
    assert await uuids(engine, "L3Network", owner="ann") == ["l1", "l2"]
    assert await uuids(engine, "L3Network", "vmNics.vm.name=db_1", owner="ann") == []
    assert await uuids(engine, "L3Network", "vmNics.vmUuid=v1", owner="ann") == []
    assert await uuids(engine, "Host", "vmInstances.name~=%", owner="bob") == ["h2"]
    assert await uuids(engine, "VmNic", "vm.uuid=v1", owner="ann") == []
    assert await engine.get("VmInstance", "v1", Scope("ann")) is None
    assert await engine.get("VmNic", "n3", Scope("bob")) is not None
    total = await engine.run(QueryRequest(entity="VmInstance", count=True), Scope("bob"))
    assert total.total == 1


async def test_what_is_shared_is_seen(store: Store) -> None:
    engine = QueryEngine(store.schema, store, tags=sample.TAGS, shares=SHARES)
    assert await uuids(engine, "VmInstance", owner="cat") == ["v1", "v3"]
    assert await uuids(engine, "VmInstance", owner="bob") == ["v1", "v3"]
    assert await uuids(engine, "VmNic", owner="cat") == ["n3"]
    assert await engine.get("VmInstance", "v2", Scope("cat")) is None


@pytest.mark.parametrize(
    ("request_", "code", "sentence"),
    [
        (QueryRequest(entity="VmInstanc"), "query.unknown-entity", "Did you mean 'VmInstance'"),
        (QueryRequest(entity="StorageHost"), "query.unknown-entity", "no entity has the name 'StorageHost'"),
        (QueryRequest(entity="Zone", limit=10_001), "query.bad-limit", "limit: found 10001; 0 to 10000"),
        (QueryRequest(entity="Zone", limit=-1), "query.bad-limit", "limit: found -1"),
        (QueryRequest(entity="Zone", start=-1), "query.bad-limit", "start: found -1"),
        (QueryRequest(entity="Zone", count_up_to=0), "query.bad-limit", "countUpTo: found 0; 1 to"),
        (QueryRequest(entity="Zone", start=2**63), "query.bad-limit", "0 to 9223372036854775807 would fit"),
        (QueryRequest(entity="Zone", sort="nam"), "query.bad-sort", "Did you mean 'name'"),
        (QueryRequest(entity="Zone", sort="-hosts.name"), "query.bad-sort", "cannot be sorted by 'hosts.name'"),
        (QueryRequest(entity="Zone", sort="limits"), "query.bad-sort", "cannot be sorted"),
        (QueryRequest(entity="Zone", conditions=["secret=s"]), "query.unknown-field", "found 'secret'"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_what_would_fit(
    engine: QueryEngine, request_: QueryRequest, code: str, sentence: str
) -> None:
    with pytest.raises(CairnError, match=sentence) as caught:
        await engine.run(request_)
    assert caught.value.code == code
    assert caught.value.fields


async def test_entities_are_found_in_any_case(engine: QueryEngine) -> None:
    assert await uuids(engine, "vminstance", "uuid=v1") == ["v1"]


async def test_queries_run_inside_a_transaction_and_see_what_it_did(engine: QueryEngine, store: Store) -> None:
    def work(tx: Tx) -> tuple[object, object]:
        tx.update(sample.Zone, "z1", name="renamed", create_date=datetime(2027, 1, 1, tzinfo=UTC))
        found = engine.run_in(tx, QueryRequest(entity="Zone", conditions=["name=renamed"], fields=["createDate"]))
        return found.inventories, engine.inventory(tx, "Zone", "z1")

    listed, one = await store.write(work)
    assert listed == [{"createDate": datetime(2027, 1, 1, tzinfo=UTC)}]
    assert one is not None


async def test_a_query_that_is_broken_off_says_so_in_its_own_words(store: Store) -> None:
    engine = QueryEngine(store.schema, store, timeout_seconds=lambda: 0.0)
    with pytest.raises(CairnError) as caught:
        await engine.run(QueryRequest(entity="Zone"))
    assert (caught.value.code, caught.value.kind) == ("query.too-slow", ErrorKind.TIMEOUT)
