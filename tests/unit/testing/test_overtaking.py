from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import bindparam, update
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Host, HostId, Zone, ZoneId, ZoneState, zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Store, Tx, table_of
from cairn.testing.clock import VirtualClock
from cairn.testing.overtaking import Function, anomalies

_HOST = table_of(Host)
_TAKE = (
    update(_HOST)
    .values(memory=_HOST.c.memory - bindparam("need"))
    .where(_HOST.c.uuid == bindparam("host"), _HOST.c.memory >= bindparam("need"))
)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await Store.memory(sample.schema(), VirtualClock(), inline=True)

    def fill(tx: Tx) -> None:
        tx.insert_many([zone(1), zone(2)])
        tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z1"), memory=10))

    await made.write(fill)
    yield made
    await made.close()


def host(tx: Tx, *, lock: bool = False) -> Host:
    found = tx.get(Host, "h", lock=lock)
    assert found is not None
    return found


def take_by_reading(tx: Tx) -> None:
    tx.update(Host, "h", memory=host(tx).memory - 3)


def take_locked(tx: Tx) -> None:
    tx.update(Host, "h", memory=host(tx, lock=True).memory - 3)


def take_if_as_seen(tx: Tx) -> None:
    row = host(tx)
    tx.update_seen(row, ["memory"], memory=row.memory - 3)


def take_in_one(tx: Tx) -> None:
    assert tx.execute(_TAKE, {"host": "h", "need": 3})


def test_an_update_that_goes_by_what_was_read_loses_another(store: Store) -> None:
    (found,) = anomalies(store, lambda: (take_by_reading, take_in_one))

    assert "after statement 1 of 2 (SELECT" in found
    assert "+ host: uuid='h'" in found
    assert "memory=7" in found


@pytest.mark.parametrize("first", [take_locked, take_if_as_seen, take_in_one])
@pytest.mark.parametrize("second", [take_by_reading, take_locked, take_if_as_seen, take_in_one])
def test_what_is_guarded_comes_out_as_one_after_the_other(store: Store, first: Function, second: Function) -> None:
    assert anomalies(store, lambda: (first, second)) == []


def test_a_lock_is_missed_where_it_is_the_guard(store: Store) -> None:
    assert anomalies(store, lambda: (take_locked, take_in_one), locking=False) != []


def _open_one_zone(lock: bool) -> Function:
    """Zones that are open: one at most, said by who opens another."""

    def fn(tx: Tx) -> None:
        rows = tx.find(Zone, lock=lock)
        if not any(row.state is ZoneState.DISABLED for row in rows):
            tx.update(Zone, "z1", state=ZoneState.DISABLED)

    return fn


def _open_other(lock: bool) -> Function:
    def fn(tx: Tx) -> None:
        rows = tx.find(Zone, lock=lock)
        if not any(row.state is ZoneState.DISABLED for row in rows):
            tx.update(Zone, "z2", state=ZoneState.DISABLED)

    return fn


def test_two_that_write_different_rows_by_what_both_have_read(store: Store) -> None:
    assert anomalies(store, lambda: (_open_one_zone(False), _open_other(False))) != []
    assert anomalies(store, lambda: (_open_one_zone(True), _open_other(True))) == []


def test_rows_that_are_not_there_yet_are_not_locked(store: Store) -> None:
    def first(tx: Tx) -> None:
        if not tx.find(Zone, name="new", lock=True):
            tx.insert(zone(3, name="new"))

    def second(tx: Tx) -> None:
        if not tx.find(Zone, name="new", lock=True):
            tx.insert(zone(4, name="new", state=ZoneState.DISABLED))

    assert anomalies(store, lambda: (first, second)) != []


def test_a_unique_field_has_the_function_run_again_which_then_says_what_it_says(store: Store) -> None:
    def enter(uuid: str) -> Function:
        def fn(tx: Tx) -> None:
            if tx.count(Zone, name="new"):
                raise CairnError("zone.name-taken", "it is taken")
            tx.insert(zone(uuid=ZoneId(uuid), name="new"))

        return fn

    assert anomalies(store, lambda: (enter("a"), enter("b"))) == []


def test_a_reference_keeps_the_row_that_it_points_to(store: Store) -> None:
    def add_host(tx: Tx) -> None:
        if tx.get(Zone, "z2") is None:
            raise CairnError("zone.not-found", "it is gone")
        tx.insert(Host(uuid=HostId("h2"), name="h2", hypervisor_type="KVM", zone_uuid=ZoneId("z2")))

    def delete_zone(tx: Tx) -> None:
        if tx.count(Host, zone_uuid="z2"):
            raise CairnError("zone.in-use", "it is in use")
        tx.delete(Zone, "z2")

    assert anomalies(store, lambda: (add_host, delete_zone)) == []
    assert anomalies(store, lambda: (delete_zone, add_host)) == []


def test_rows_that_were_made_before_are_found_again_behind_those_of_the_other(store: Store) -> None:
    def make(uuid: str) -> Function:
        def fn(tx: Tx) -> None:
            tx.insert(zone(uuid=ZoneId(uuid), name=uuid))
            tx.update(Zone, uuid, load=tx.count(Zone, open=True) * 0.0 + 1)

        return fn

    assert anomalies(store, lambda: (make("a"), make("b"))) == []


def test_columns_that_may_differ_are_left_out(store: Store) -> None:
    assert anomalies(store, lambda: (take_by_reading, take_in_one), ignoring=["memory"]) == []
    assert anomalies(store, lambda: (take_by_reading, take_in_one), ignoring=["host.memory"]) == []
    assert anomalies(store, lambda: (take_by_reading, take_in_one), ignoring=["host"]) == []


def test_a_function_that_chooses_anew_in_each_try_is_a_mistake_of_the_test(store: Store) -> None:
    turns = iter(range(100))

    def unsteady(tx: Tx) -> None:
        tx.get(Zone, "z1") if next(turns) % 2 else tx.get(Host, "h")
        tx.update(Zone, "z1", load=1.0)

    with pytest.raises(AssertionError, match="does not repeat itself"):
        anomalies(store, lambda: (unsteady, take_in_one))
