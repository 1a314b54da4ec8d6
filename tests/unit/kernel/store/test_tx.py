from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import bindparam, select, update
from tests.unit.kernel import sample
from tests.unit.kernel.sample import (
    L3,
    Entry,
    Host,
    HostId,
    Limits,
    Share,
    VmId,
    VmInstance,
    VmNic,
    Zone,
    ZoneId,
    ZoneState,
    zone,
)

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store import Store, Tx, table_of
from cairn.testing.clock import VirtualClock

_host = table_of(Host)
CLAIM = (
    update(_host)
    .values(memory=_host.c.memory - bindparam("need"))
    .where(_host.c.uuid == bindparam("host"), _host.c.memory >= bindparam("need"))
)
_zone = table_of(Zone)
ZONES = select(_zone.c.uuid, _zone.c.create_date, _zone.c.open, _zone.c.limits).where(
    _zone.c.create_date >= bindparam("since"), _zone.c.state.in_(bindparam("states", expanding=True))
)


async def test_every_kind_of_field_comes_back_as_it_went_in(store: Store) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    full = Zone(
        uuid=ZoneId("z"),
        name="näme",
        description=None,
        state=ZoneState.DISABLED,
        limits=Limits(max_hosts=7, racks=["a", "b"]),
        secret="s",
        load=1.5,
        open=False,
        photo=b"\0\xff",
        create_date=moment,
    )
    await store.write(lambda tx: tx.insert(full))
    assert await store.read(lambda tx: tx.get(Zone, "z")) == full


async def test_times_of_other_zones_come_back_as_utc_and_the_same_instant(store: Store) -> None:
    from datetime import timezone

    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=8)))
    await store.write(lambda tx: tx.insert(zone(create_date=moment)))
    found = await store.read(lambda tx: tx.get(Zone, "z1"))
    assert found is not None
    assert found.create_date == moment
    assert found.create_date.tzinfo is UTC


async def test_get_of_a_missing_key_is_none(store: Store) -> None:
    assert await store.read(lambda tx: tx.get(Zone, "nobody")) is None


async def test_find_compares_equal_null_and_one_of_a_list(store: Store) -> None:
    def fill(tx: Tx) -> None:
        tx.insert_many([zone(1), zone(2, description="d"), zone(3, state=ZoneState.DISABLED, description="d")])

    await store.write(fill)

    def found(tx: Tx, **equal: object) -> list[str]:
        return [one.uuid for one in tx.find(Zone, order_by="uuid", **equal)]  # type: ignore[arg-type]

    assert await store.read(lambda tx: found(tx, state=ZoneState.DISABLED)) == ["z3"]
    assert await store.read(lambda tx: found(tx, description=None)) == ["z1"]
    assert await store.read(lambda tx: found(tx, uuid=["z1", "z2", "z9"])) == ["z1", "z2"]
    assert await store.read(lambda tx: found(tx, uuid={"z1", "z2", "z3"}, description="d")) == ["z2", "z3"]
    assert await store.read(lambda tx: found(tx, uuid=[])) == []
    assert await store.read(lambda tx: found(tx, name="ZONE 1")) == ["z1"]
    assert await store.read(lambda tx: found(tx, uuid="Z1")) == []


async def test_find_sorts_both_ways_and_stops_at_the_limit(store: Store) -> None:
    await store.write(lambda tx: tx.insert_many([zone(number) for number in (2, 1, 3)]))
    down = await store.read(lambda tx: tx.find(Zone, order_by="name", descending=True, limit=2))
    assert [one.uuid for one in down] == ["z3", "z2"]
    assert await store.read(lambda tx: tx.find(Zone, limit=0)) == []


async def test_count_update_and_delete_say_how_many_rows(store: Store) -> None:
    await store.write(lambda tx: tx.insert_many([zone(number) for number in range(5)]))

    def change(tx: Tx) -> list[int]:
        return [
            tx.count(Zone),
            tx.count(Zone, uuid=["z1", "z2"]),
            tx.update(Zone, "z1", state=ZoneState.DISABLED, limits=Limits(max_hosts=3)),
            tx.update(Zone, "z9", state=ZoneState.DISABLED),
            tx.update(Zone, "z1"),
            tx.update_where(Zone, {"state": ZoneState.ENABLED}, load=2.0),
            tx.update_where(Zone, {"uuid": []}, load=2.0),
            tx.delete(Zone, "z1"),
            tx.delete(Zone, "z1"),
            tx.delete_where(Zone, uuid=["z2", "z3"]),
            tx.delete_where(Zone),
            tx.count(Zone),
        ]

    assert await store.write(change) == [5, 2, 1, 0, 0, 4, 0, 1, 0, 2, 2, 0]


async def test_a_list_of_values_may_be_of_any_length(store: Store) -> None:
    keys = [f"z{number}" for number in range(40_000)]

    def work(tx: Tx) -> list[int]:
        tx.insert_many([zone(7), zone(39_999), zone(40_001)])
        return [
            len(tx.find(Zone, uuid=[*keys, *keys])),
            tx.count(Zone, uuid=[*keys, *keys]),
            tx.update_where(Zone, {"uuid": keys}, load=2.0),
            tx.delete_where(Zone, uuid=keys),
            tx.count(Zone),
        ]

    assert await store.write(work) == [2, 2, 2, 2, 1]


async def test_too_long_a_list_is_refused_where_an_order_or_a_limit_is_asked_for(store: Store) -> None:
    keys = [f"z{number}" for number in range(20_000)]
    with pytest.raises(CairnError, match="too long") as caught:
        await store.read(lambda tx: tx.find(Zone, uuid=keys, limit=5))
    assert caught.value.code == "store.too-many-values"


async def test_counted_keys_go_up_and_are_not_used_again(store: Store) -> None:
    await store.write(lambda tx: tx.insert_many([Entry(text="a"), Entry(text="b")]))
    await store.write(lambda tx: tx.delete_where(Entry))
    await store.write(lambda tx: tx.insert(Entry(text="c")))
    assert [one.number for one in await store.read(lambda tx: tx.find(Entry))] == [3]


async def test_a_taken_key_or_unique_field_is_a_duplicate_that_names_table_and_fields(store: Store) -> None:
    await store.write(lambda tx: tx.insert(zone(1)))
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.insert(zone(1, name="other")))
    assert (caught.value.code, caught.value.kind) == ("store.duplicate", ErrorKind.CONFLICT)
    assert caught.value.details == {"table": "zone", "fields": ["uuid"]}
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.insert_many([zone(2), zone(3, name="ZONE 1")]))
    assert caught.value.details == {"table": "zone", "fields": ["name", "state"]}
    assert await store.read(lambda tx: tx.count(Zone)) == 1


async def test_pointing_to_nothing_names_the_field_and_the_value(store: Store) -> None:
    def lonely(tx: Tx) -> None:
        tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("none")))

    with pytest.raises(CairnError, match="zone_uuid points to 'none'") as caught:
        await store.write(lonely)
    assert (caught.value.code, caught.value.kind) == ("store.reference", ErrorKind.CONFLICT)
    assert caught.value.details == {"table": "host", "fields": ["zone_uuid"]}


async def test_updating_to_point_to_nothing_names_the_field(store: Store) -> None:
    def fill(tx: Tx) -> None:
        tx.insert(zone(1))
        tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z1")))

    await store.write(fill)
    with pytest.raises(CairnError, match="zone_uuid points to 'z2'"):
        await store.write(lambda tx: tx.update(Host, "h", zone_uuid="z2"))


async def test_deleting_what_is_in_use_names_the_user_and_cascades_follow(store: Store) -> None:
    def fill(tx: Tx) -> None:
        tx.insert_many([zone(1), L3(uuid="l3", name="flat")])
        tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z1")))
        tx.insert(VmInstance(uuid=VmId("vm"), name="vm", account_uuid="a", host_uuid=HostId("h")))
        tx.insert(VmNic(uuid="nic", vm_uuid=VmId("vm"), l3_network_uuid="l3"))

    await store.write(fill)
    with pytest.raises(CairnError, match=r"in use by vm_instance\.host_uuid") as caught:
        await store.write(lambda tx: tx.delete(Host, "h"))
    assert caught.value.code == "store.reference"
    assert await store.write(lambda tx: tx.delete(VmInstance, "vm")) == 1
    assert await store.read(lambda tx: tx.count(VmNic)) == 0


async def test_an_unknown_field_is_named_with_those_there_are(store: Store) -> None:
    for call in (
        lambda tx: tx.find(Zone, colour="red"),
        lambda tx: tx.find(Zone, order_by="colour"),
        lambda tx: tx.update(Zone, "z", colour="red"),
        lambda tx: tx.count(Zone, colour=None),
    ):
        with pytest.raises(CairnError, match="no field 'colour'; it has uuid, name"):
            await store.write(call)


async def test_null_where_none_is_allowed_and_values_of_the_wrong_type_are_refused(store: Store) -> None:
    await store.write(lambda tx: tx.insert(zone(1)))
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.update(Zone, "z1", name=None))
    assert caught.value.code == "store.null"
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.update(Zone, "z1", load="heavy"))
    assert caught.value.code == "store.refused"
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.update(Host, "h", memory=2**63))
    assert caught.value.code == "store.refused"


async def test_bytes_are_no_text_for_sqlite() -> None:
    store = await Store.memory(sample.schema(), VirtualClock(), inline=True)
    with pytest.raises(CairnError) as caught:
        await store.write(lambda tx: tx.insert(Entry(number=0, text=b"bytes")))  # type: ignore[arg-type]
    assert caught.value.code == "store.refused"
    await store.close()


async def test_a_claim_never_takes_more_than_there_is(store: Store) -> None:
    def fill(tx: Tx) -> None:
        tx.insert(zone(1))
        tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z1"), memory=10))

    await store.write(fill)
    taken = [await store.write(lambda tx: tx.execute(CLAIM, {"need": 4, "host": "h"})) for _ in range(4)]
    assert taken == [1, 1, 0, 0]
    host = await store.read(lambda tx: tx.get(Host, "h"))
    assert host is not None
    assert host.memory == 2


async def test_rows_of_a_statement_are_python_values_and_lists_expand(store: Store) -> None:
    late = datetime(2026, 5, 1, tzinfo=UTC)
    await store.write(lambda tx: tx.insert_many([zone(1), zone(2, create_date=late, open=False)]))
    for states in ([ZoneState.ENABLED], ["Enabled", "Disabled", "Other"]):
        rows = await store.read(partial(Tx.rows, statement=ZONES, params={"since": late, "states": states}))
        assert rows == [("z2", late, False, {"maxHosts": 0, "racks": []})]


async def test_a_read_cannot_change_anything(store: Store) -> None:
    for change in (
        lambda tx: tx.insert(zone(1)),
        lambda tx: tx.insert_many([zone(1), zone(2)]),
        lambda tx: tx.delete_where(Zone),
        lambda tx: tx.execute(CLAIM, {"need": 1, "host": "h"}),
    ):
        with pytest.raises(CairnError, match=r"Store\.write"):
            await store.read(change)


async def test_now_is_the_clocks_and_stands_still_within_a_transaction(store: Store) -> None:
    assert await store.write(lambda tx: tx.now == tx.now)
    assert await store.read(lambda tx: tx.now.tzinfo) is UTC


async def test_fields_with_uuid_in_their_name_are_compared_exactly(store: Store) -> None:
    await store.write(lambda tx: tx.insert(Share(uuid="s", resource_uuid="abc")))
    assert await store.read(lambda tx: tx.count(Share, resource_uuid="ABC")) == 0


async def test_rows_can_be_read_with_a_lock_and_in_a_read_it_is_of_no_effect(store: Store) -> None:
    await store.write(lambda tx: tx.insert_many([zone(1), zone(2)]))

    def fn(tx: Tx) -> list[Zone | None]:
        return [tx.get(Zone, "z1", lock=True), *tx.find(Zone, order_by="uuid", limit=1, lock=True)]

    assert await store.write(fn) == [zone(1)] * 2 == await store.read(fn)


async def test_update_seen_changes_a_row_that_is_as_it_was_read(store: Store) -> None:
    await store.write(lambda tx: tx.insert(zone(1, description=None)))

    await store.write(lambda tx: tx.update_seen(zone(1), ["state", "description"], state=ZoneState.DISABLED))

    found = await store.read(lambda tx: tx.get(Zone, "z1"))
    assert found is not None
    assert found.state is ZoneState.DISABLED


@pytest.mark.parametrize("row", [zone(1, state=ZoneState.DISABLED), zone(2)])
async def test_update_seen_of_a_row_that_is_another_by_now_or_gone_is_tried_again_in_vain(
    store: Store, row: Zone
) -> None:
    await store.write(lambda tx: tx.insert(zone(1)))
    runs: list[int] = []

    def fn(tx: Tx) -> None:
        runs.append(1)
        tx.update_seen(row, ["state"], load=2.0)

    with pytest.raises(CairnError) as caught:
        await store.write(fn)
    assert (caught.value.code, len(runs)) == ("store.overtaken", 6)
    assert await store.read(lambda tx: tx.find(Zone)) == [zone(1)]
