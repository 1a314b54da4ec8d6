from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage import totals
from cairn.plugins.local_storage.model import TYPE, LocalStorageHost
from cairn.plugins.local_storage.totals import CAPACITIES, add_up, add_up_all, take_away
from cairn.services.cluster.model import Cluster
from cairn.services.host.model import Host
from cairn.services.ids import HostId, PrimaryStorageId, ZoneId
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.services.zone.model import Zone
from cairn.testing.clock import VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE, THERE = PrimaryStorageId("here"), PrimaryStorageId("there")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """Two storages without hosts."""
    store = await Store.memory(
        Schema([Zone, Cluster, Host, PrimaryStorage, LocalStorageHost]), VirtualClock(), inline=True
    )
    await store.write(_foundation)
    yield store
    await store.close()


def _foundation(tx: Tx) -> None:
    tx.insert(Zone(uuid=ZoneId("z"), name="z", create_date=NOW, last_op_date=NOW))
    tx.insert(
        Cluster(uuid="c", name="c", zone_uuid=ZoneId("z"), hypervisor_type="KVM", create_date=NOW, last_op_date=NOW)  # type: ignore[arg-type]
    )
    for uuid in (HERE, THERE):
        tx.insert(
            PrimaryStorage(
                uuid=uuid,
                name=uuid,
                zone_uuid=ZoneId("z"),
                url="/x",
                mount_path="/x",
                type=TYPE,
                create_date=NOW,
                last_op_date=NOW,
            )
        )


def add_share(tx: Tx, storage: PrimaryStorageId, host: str, *capacities: int) -> None:
    """A host with its share of a storage, which is in no sum yet."""
    if tx.get(Host, host) is None:
        tx.insert(
            Host(
                uuid=host,  # type: ignore[arg-type]
                name=host,
                zone_uuid=ZoneId("z"),
                cluster_uuid="c",  # type: ignore[arg-type]
                management_ip=host,
                hypervisor_type="KVM",
                create_date=NOW,
                last_op_date=NOW,
            )
        )
    row = LocalStorageHost(uuid=f"{storage}-{host}", primary_storage_uuid=storage, host_uuid=HostId(host))
    tx.insert(replace(row, **dict(zip(CAPACITIES, capacities, strict=False))))


def sums(tx: Tx, storage: PrimaryStorageId) -> list[int]:
    row = tx.get(PrimaryStorage, storage)
    assert row is not None
    return [getattr(row, name) for name in CAPACITIES]


def shares(tx: Tx, storage: PrimaryStorageId) -> list[int]:
    rows = tx.find(LocalStorageHost, primary_storage_uuid=storage)
    return [sum(getattr(row, name) for row in rows) for name in CAPACITIES]


async def test_hosts_that_changed_are_added_once_and_others_are_not_looked_at(store: Store) -> None:
    def fn(tx: Tx) -> tuple[list[int], list[int], list[int]]:
        add_share(tx, HERE, "a", 10, 7, 20, 15)
        add_share(tx, HERE, "b", 1, 1, 1, 1)
        add_share(tx, THERE, "a", 100, 100, 100, 100)
        for _ in range(2):
            add_up(tx, HERE, [HostId("a"), HostId("gone")])
        first = sums(tx, HERE)
        tx.update(LocalStorageHost, "here-a", available_capacity=2)
        add_up(tx, HERE, [HostId("a"), HostId("b")])
        return first, sums(tx, HERE), sums(tx, THERE)

    assert await store.write(fn) == ([10, 7, 20, 15], [11, 3, 21, 16], [0, 0, 0, 0])


async def test_all_are_summed_up_whatever_the_sums_were(store: Store) -> None:
    def fn(tx: Tx) -> tuple[list[int], list[int]]:
        add_share(tx, HERE, "a", 10, 7, 20, 15)
        tx.update(PrimaryStorage, HERE, total_capacity=99, available_capacity=99)
        row = tx.get(PrimaryStorage, HERE)
        assert row is not None
        add_up_all(tx, row)
        before = sums(tx, HERE)
        add_up(tx, HERE, [HostId("a")])
        return before, sums(tx, HERE)

    assert await store.write(fn) == ([10, 7, 20, 15], [10, 7, 20, 15])


async def test_a_share_that_goes_takes_away_what_was_added_of_it(store: Store) -> None:
    def fn(tx: Tx) -> list[int]:
        add_share(tx, HERE, "a", 10, 7, 20, 15)
        add_share(tx, HERE, "b", 1, 1, 1, 1)
        add_up(tx, HERE, [HostId("a"), HostId("b")])
        tx.update(LocalStorageHost, "here-a", total_capacity=1000)  # that was not added
        row = tx.get(LocalStorageHost, "here-a")
        assert row is not None
        tx.delete(LocalStorageHost, row.uuid)
        take_away(tx, row)
        return sums(tx, HERE)

    assert await store.write(fn) == [1, 1, 1, 1]


@given(steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.sampled_from(["set", "go", "add"]))))
@settings(max_examples=50)
async def test_sums_are_those_of_the_shares_once_all_that_changed_was_added(steps: list[tuple[str, int, str]]) -> None:
    store = await Store.memory(
        Schema([Zone, Cluster, Host, PrimaryStorage, LocalStorageHost]), VirtualClock(), inline=True
    )

    def fn(tx: Tx) -> tuple[list[int], list[int]]:
        _foundation(tx)
        changed: set[HostId] = set()
        for name, number, what in steps:
            row, host = tx.get(LocalStorageHost, f"here-{name}"), HostId(name)
            if what == "add":
                add_up(tx, HERE, [host])
                changed.discard(host)
            elif row is None and what == "set":
                add_share(tx, HERE, name, number, number, number, number)
                changed.add(host)
            elif row is not None and what == "set":
                tx.update(LocalStorageHost, row.uuid, available_capacity=number, total_physical_capacity=2 * number)
                changed.add(host)
            elif row is not None:
                tx.delete(LocalStorageHost, row.uuid)
                take_away(tx, row)
        add_up(tx, HERE, changed)
        return sums(tx, HERE), shares(tx, HERE)

    found, wanted = await store.write(fn)
    await store.close()
    assert found == wanted


async def test_more_hosts_than_one_statement_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "_AT_A_TIME", 3)

    def fn(tx: Tx) -> list[int]:
        for number in range(8):
            add_share(tx, HERE, f"h{number}", 1, 1, 1, 1)
        add_up(tx, HERE, [HostId(f"h{number}") for number in range(8)])
        return sums(tx, HERE)

    assert await store.write(fn) == [8, 8, 8, 8]
