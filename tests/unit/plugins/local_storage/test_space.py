from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.agents.protocol.wire import Space
from cairn.kernel.event import EventRow
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.model import LocalStorageHost, SpaceLevel
from cairn.plugins.local_storage.space import DiskSpace, Terms, Touched, available_of, level_of, total_of
from cairn.services.ids import HostId, PrimaryStorageId
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.testing.cloud import Cloud

GIB = 1 << 30
BYTES = st.integers(min_value=0, max_value=1 << 50)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """A host with two storages."""
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        second = await cloud.call(
            "AddLocalPrimaryStorage", name="second", zone_uuid=cloud.site["zone"], url="/var/lib/second"
        )
        cloud.site["second"] = str(second["uuid"])
        await cloud.call(
            "AttachPrimaryStorageToCluster",
            cluster_uuid=cloud.site["cluster"],
            primary_storage_uuid=cloud.site["second"],
        )
        yield cloud


class Ledger:
    """The ledger of the cloud's one host."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.touched = Touched()
        context = cloud.node.context
        self.space = DiskSpace(context.ids, context.config, context.events, self.touched)
        self.host = HostId(cloud.site["host-1"])
        self.first, self.second = (PrimaryStorageId(cloud.site[name]) for name in ("storage", "second"))

    async def measure(self, *spaces: Space) -> None:
        found = dict(zip((self.first, self.second), spaces, strict=False))
        await self.cloud.node.context.store.write(lambda tx: self.space.measured(tx, self.host, found))

    async def claim(self, storage: PrimaryStorageId, size: int) -> bool:
        return await self.cloud.node.context.store.write(lambda tx: self.space.claim(tx, storage, self.host, size))

    def rows(self) -> list[LocalStorageHost]:
        def fn(tx: Tx) -> list[LocalStorageHost]:
            rows = {row.primary_storage_uuid: row for row in tx.find(LocalStorageHost, host_uuid=self.host)}
            return [rows[self.first], rows[self.second]]

        return self.cloud.read_now(fn)

    def free(self) -> list[int]:
        return [row.available_capacity // GIB for row in self.rows()]


def disk(total: int, free: int, *, used: int = 0, name: str = "sda") -> Space:
    return Space(total_bytes=total * GIB, available_bytes=free * GIB, used_bytes=used * GIB, file_system=name)


async def test_one_disk_under_two_storages_is_given_out_once(cloud: Cloud) -> None:
    ledger = Ledger(cloud)
    await ledger.measure(disk(101, 101), disk(101, 101))
    assert ledger.free() == [100, 100]
    assert await ledger.claim(ledger.first, 70 * GIB)
    assert ledger.free() == [30, 30]
    assert not await ledger.claim(ledger.second, 31 * GIB)
    assert await ledger.claim(ledger.second, 30 * GIB)
    assert ledger.free() == [0, 0]


async def test_two_disks_are_two(cloud: Cloud) -> None:
    ledger = Ledger(cloud)
    await ledger.measure(disk(101, 101), disk(11, 11, name="sdb"))
    assert await ledger.claim(ledger.first, 70 * GIB)
    assert ledger.free() == [30, 10]


async def test_what_is_not_the_clouds_and_the_reserve_are_never_given_out(cloud: Cloud) -> None:
    ledger = Ledger(cloud)
    await ledger.measure(disk(1000, 11, used=0), disk(1000, 11, used=400))
    assert ledger.free() == [10, 10]
    assert not await ledger.claim(ledger.first, 11 * GIB)
    await cloud.call("UpdateGlobalConfig", category="localStorage", name="reserved", value=str(8 * GIB))
    assert not await ledger.claim(ledger.first, 4 * GIB), "the setting counts at once"
    assert await ledger.claim(ledger.first, 3 * GIB)


async def test_promises_that_were_not_used_yet_are_kept(cloud: Cloud) -> None:
    """Half of the disk is taken by others: volumes that are empty still may not get more than the rest."""
    ledger = Ledger(cloud)
    await ledger.measure(disk(101, 51), disk(9, 9, name="sdb"))
    assert await ledger.claim(ledger.first, 50 * GIB)
    assert not await ledger.claim(ledger.first, 1)


async def test_over_provisioning_ends_where_the_disk_does(cloud: Cloud) -> None:
    ledger = Ledger(cloud)
    await cloud.call("UpdateGlobalConfig", category="localStorage", name="overProvisioning.ratio", value="10")
    await ledger.measure(disk(101, 101), disk(9, 9, name="sdb"))
    assert await ledger.claim(ledger.first, 500 * GIB)
    await ledger.measure(disk(101, 2, used=99), disk(9, 9, name="sdb"))
    assert ledger.free()[0] == 10
    await ledger.measure(disk(101, 1, used=100), disk(9, 9, name="sdb"))
    assert ledger.free()[0] == 0
    assert not await ledger.claim(ledger.first, 1)


async def test_disk_that_is_another_one_has_its_bookings_summed_up_anew(cloud: Cloud) -> None:
    ledger = Ledger(cloud)
    await ledger.measure(disk(101, 101), disk(101, 101, name="sdb"))
    vm = await cloud.create_vm("web", root_disk_size=7 * GIB)
    home = PrimaryStorageId(str(cloud.read_now(lambda tx: tx.find(PrimaryStorage, uuid=_storage_of(tx, vm)))[0].uuid))
    at = [ledger.first, ledger.second].index(home)
    booked = [row.booked_capacity for row in ledger.rows()]
    assert booked[at] >= 7 * GIB
    assert booked[1 - at] == 0
    await ledger.measure(disk(101, 101, name="x"), disk(101, 101, name="x"))
    assert [row.booked_capacity for row in ledger.rows()] == [booked[at]] * 2


def _storage_of(tx: Tx, vm: dict[str, object]) -> str:
    from cairn.services.volume.model import Volume

    (volume,) = tx.find(Volume, vm_instance_uuid=str(vm["uuid"]))
    return volume.primary_storage_uuid


async def test_disk_that_fills_up_is_told_and_one_that_has_room_again(cloud: Cloud) -> None:
    ledger = Ledger(cloud)
    for free in (100, 14, 13, 1, 0, 14, 16, 18, 50):
        await ledger.measure(disk(100, free))
    names = [
        (row.name, row.resource_uuid)
        for row in cloud.read_now(lambda tx: tx.find(EventRow, order_by="sequence"))
        if row.name.startswith("primary-storage.")
    ]
    assert names == [
        (f"primary-storage.{what}", ledger.first) for what in ("nearly-full", "full", "nearly-full", "has-room")
    ]
    assert ledger.rows()[0].level is SpaceLevel.OK


@given(BYTES, BYTES, BYTES, st.integers(min_value=1, max_value=100), st.sampled_from(list(SpaceLevel)))
def test_levels_follow_what_is_free(total: int, free: int, reserve: int, percent: int, before: SpaceLevel) -> None:
    space, terms = Space(total_bytes=total, available_bytes=min(free, total)), Terms(1.0, reserve)
    level = level_of(space, terms, percent, before)
    if space.available_bytes <= reserve:
        assert level is SpaceLevel.FULL
    if level is SpaceLevel.OK:
        assert space.available_bytes >= total * (100 - percent) // 100
    assert level_of(space, terms, percent, level) is level, "what is measured twice changes nothing"


@given(BYTES, BYTES, BYTES, BYTES, st.floats(min_value=1, max_value=1000), BYTES)
def test_no_more_is_given_out_than_there_is(
    total: int, free: int, others: int, booked: int, ratio: float, reserve: int
) -> None:
    row = LocalStorageHost(
        uuid="u",
        primary_storage_uuid=PrimaryStorageId("p"),
        host_uuid=HostId("h"),
        total_physical_capacity=total,
        available_physical_capacity=min(free, total),
        system_used_capacity=min(others, total),
        booked_capacity=booked,
    )
    terms = Terms(ratio, reserve)
    available = available_of(row, terms)
    assert 0 <= available <= max(0, total_of(row, terms) - booked) or available == 0
    assert available <= max(0, free - reserve) * ratio + 1


def test_only_changes_that_count_are_news() -> None:
    space = DiskSpace.__new__(DiskSpace)
    space._settings = _Defaults()  # type: ignore[assignment]
    known = disk(1000, 500, used=100)
    assert space.is_news(known, None)
    assert not space.is_news(known, known)
    small = Space(total_bytes=1000 * GIB, available_bytes=500 * GIB - 1000, used_bytes=100 * GIB, file_system="sda")
    assert not space.is_news(small, known)
    assert space.is_news(disk(1000, 499, used=100), known)
    assert space.is_news(disk(1000, 500, used=101), known)
    assert space.is_news(disk(1001, 500, used=100), known)
    assert space.is_news(disk(1000, 500, used=100, name="sdb"), known)


class _Defaults:
    """Settings as they are shipped."""

    def get(self, setting: object) -> object:
        return setting.default  # type: ignore[attr-defined]


def test_touched_storages_are_taken_once() -> None:
    touched = Touched()
    assert touched.take() is None, "at the start nothing is known"
    for host in ("x", "y", "x"):
        touched.add(PrimaryStorageId("a"), HostId(host))
    assert (bool(touched), touched.take()) == (True, {"a": {"x", "y"}})
    assert (bool(touched), touched.take()) == (False, {})
    told: list[int] = []
    touched.listen(lambda: told.append(1))
    touched.add(PrimaryStorageId("a"), HostId("x"))
    touched.add_all()
    assert (touched.take(), told) == (None, [1, 1])
