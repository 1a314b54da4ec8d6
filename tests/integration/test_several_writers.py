"""Several writers of one database on a server, each taking and giving back what all share: afterwards the books are right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from cairn.kernel.health import Health
from cairn.kernel.ids import RandomIds
from cairn.kernel.store.group import NoMetrics, TransactionRunner, WorkItem
from cairn.kernel.store.line import Line
from cairn.kernel.store.store import Tx
from cairn.kernel.store.transaction import reading
from cairn.plugins.local_storage.model import TYPE
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.host.extensions import HostNeed
from cairn.services.host.model import HostClaim
from cairn.services.host.placement.allocator import Allocator
from cairn.services.ids import HostId, ImageId, L3NetworkId, PrimaryStorageId, VmId, VolumeId
from cairn.services.l3.addresses import Addresses
from cairn.services.l3.model import UsedIp
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.testing.clock import VirtualClock
from cairn.testing.cloud import Cloud
from cairn.testing.stores import VARIABLE

WRITERS, ROUNDS = 4, 40
MIB = 1 << 20


class Writer:
    """One of them, with a connection of its own; what it does is drawn from its number."""

    def __init__(self, cloud: Cloud, runner: TransactionRunner, number: int) -> None:
        context, ids = cloud.node.context, RandomIds(seed=100 + number)
        self._random = random.Random(number)
        self._runner = runner
        self._hosts = [HostId(cloud.site[f"host-{at}"]) for at in (1, 2)]
        self._storage, self._network = PrimaryStorageId(cloud.site["storage"]), L3NetworkId(cloud.site["l3"])
        self._allocator, self._addresses = Allocator(lambda: ()), Addresses(ids)
        self._space = DiskSpace(ids, context.config, context.events, Touched())
        self._driver = context.extensions.named(PrimaryStorageDriver, TYPE)
        self.errors: list[BaseException] = []

    def run(self) -> None:
        """Some transactions at a time, as they wait for a writer."""
        line = Line(self._runner.driver, read_only=False)
        for _ in range(ROUNDS):
            items = [WorkItem[object](self._work(), None) for _ in range(self._random.randint(1, 4))]
            waiting = iter(items[1:])
            self._runner.write(line, items[0], lambda: next(waiting, None))  # noqa: B023 (used at once)
            self.errors += [item.error for item in items if item.error is not None]
        line.close()

    def _work(self) -> Callable[[Tx], object]:
        """One of the works, on one of the VMs that all writers work on."""
        vm = VmId(f"{self._random.randint(0, 9):032x}")
        host, volume = self._random.choice(self._hosts), VolumeId(vm)
        need = HostNeed(
            vm_uuid=vm, cpu_num=1, memory_size=MIB, image_uuid=ImageId(""), l3_network_uuids=[], disk_bytes=0
        )

        def claim(tx: Tx) -> None:
            if tx.get(HostClaim, vm) is None:
                self._allocator.claim(tx, need)

        def disk(tx: Tx) -> None:
            if self._driver.host_of(tx, volume) is None:
                self._driver.claim(tx, self._storage, host, volume, MIB, ImageId(""))

        works: list[Callable[[Tx], object]] = [
            claim,
            disk,
            lambda tx: self._allocator.hold(tx, vm, host, cpu_num=2, memory_bytes=3 * MIB),
            lambda tx: self._allocator.release(tx, vm),
            lambda tx: self._addresses.claim(tx, self._network, used_for=vm),
            lambda tx: self._addresses.release_of(tx, vm),
            lambda tx: self._driver.release(tx, volume),
            lambda tx: self._space.book_anew(tx, host),
        ]
        return self._random.choice(works)


async def test_books_are_right_whatever_several_writers_do_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mariadb")
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        schema, seals = cloud.store.schema, cloud.store.seals
        driver = cloud.store.driver
        writers = [
            Writer(cloud, TransactionRunner(driver, schema, VirtualClock(), NoMetrics(), seals), number)
            for number in range(WRITERS)
        ]
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [error for writer in writers for error in writer.errors] == []
        with reading(driver, schema, seals) as (connection, tx):
            checks = Health(connection, driver, schema, seals).checks(tx, cloud._loaded.audits)
            assert [one for _, findings in checks for one in findings] == []
            assert min(tx.count(HostClaim), tx.count(UsedIp)) > 0
