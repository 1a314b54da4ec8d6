from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.loop import Loops
from cairn.kernel.metrics import Metrics
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.model import LocalStorageHost
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.plugins.local_storage.sums import Sums
from cairn.services.ids import HostId, PrimaryStorageId
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.testing.cloud import Cloud

GIB = 1 << 30


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """Two hosts with local storage, and nothing on it."""
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        await cloud.quiet(2)
        yield cloud


def whole(cloud: Cloud) -> PrimaryStorage:
    row = cloud.read_now(lambda tx: tx.get(PrimaryStorage, cloud.site["storage"]))
    assert row is not None
    return row


async def test_capacity_of_a_storage_moves_with_its_volumes(cloud: Cloud) -> None:
    before = whole(cloud).available_capacity
    vm = await cloud.create_vm("web", root_disk_size=500 * GIB)
    await cloud.quiet(2)
    taken = before - whole(cloud).available_capacity
    assert 500 * GIB <= taken < 501 * GIB, "the disk, and the image's cache"
    await cloud.call("DestroyVmInstance", uuid=vm["uuid"])
    await cloud.call("ExpungeVmInstance", uuid=vm["uuid"])
    await cloud.quiet(2)
    assert before - whole(cloud).available_capacity == taken - 500 * GIB


async def test_changes_of_a_second_are_summed_up_together(cloud: Cloud) -> None:
    context = cloud.node.context
    rounds = 0

    class Counted(Sums):
        async def sum_up(self) -> None:
            nonlocal rounds
            rounds += 1
            await super().sum_up()

    touched = Touched()
    loops = _at_work(cloud, Counted(context.store, cloud.clock, _space(cloud, touched), touched), touched)
    await cloud.quiet(0.5)
    for _ in range(10):
        touched.add(PrimaryStorageId(cloud.site["storage"]), HostId(cloud.site["host-1"]))
    await cloud.quiet(5)
    assert rounds == 1
    touched.add(PrimaryStorageId("f" * 32), HostId("f" * 32))
    await cloud.quiet(5)
    assert rounds == 2
    await cloud.quiet(300)
    assert rounds == 2, "without a change nothing is done"
    await loops.stop()


async def test_settings_show_in_all_rows_and_sums(cloud: Cloud) -> None:
    before = whole(cloud).total_capacity
    await cloud.call("UpdateGlobalConfig", category="localStorage", name="overProvisioning.ratio", value="3")
    await cloud.quiet(2)
    rows = cloud.read_now(lambda tx: tx.find(LocalStorageHost))
    assert whole(cloud).total_capacity == 3 * before == sum(row.total_capacity for row in rows)
    await cloud.call("UpdateGlobalConfig", category="localStorage", name="reserved", value=str(2 * GIB))
    await cloud.quiet(2)
    assert whole(cloud).total_capacity == 3 * before - 2 * 3 * GIB


async def test_what_could_not_be_written_is_summed_up_later(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    context = cloud.node.context
    touched = Touched()
    space = _space(cloud, touched)
    sums = Sums(context.store, cloud.clock, space, touched)
    fails = [True]

    def anew(tx: Tx, host: HostId | None = None) -> None:
        if fails.pop():
            fails.append(False)
            raise CairnError("store.full", "The disk is full.", kind=ErrorKind.UNAVAILABLE)
        fails.append(False)

    monkeypatch.setattr(space, "anew", anew)
    await context.store.write(lambda tx: tx.update(PrimaryStorage, cloud.site["storage"], total_capacity=7))
    loops = _at_work(cloud, sums, touched)
    await cloud.quiet(70)
    assert whole(cloud).total_capacity > 7
    await loops.stop()


def _at_work(cloud: Cloud, sums: Sums, touched: Touched) -> Loops:
    """The sums as a node has them done."""
    loops = Loops(cloud.clock, Metrics())
    touched.listen(loops.every("sums", lambda: 60.0, sums.gather, at_once=True).wake)
    loops.start()
    return loops


def _space(cloud: Cloud, touched: Touched) -> DiskSpace:
    context = cloud.node.context
    return DiskSpace(context.ids, context.config, context.events, touched)
