from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from msgspec.structs import replace
from tests.unit.services.vm.paper_agents import PaperAgents

from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import CreateVolume, DeleteFile
from cairn.agents.protocol.wire import Space
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.driver import LocalStorageDriver
from cairn.plugins.local_storage.leftovers import Leftovers
from cairn.plugins.local_storage.model import TYPE, LocalStorageHost, LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.host.extensions import Candidate
from cairn.services.host.provided import HostDebts
from cairn.services.ids import ClusterId, HostId, PrimaryStorageId, VolumeId, ZoneId
from cairn.services.primary_storage.extensions import CachedImage, PrimaryStorageDriver, VolumeSpec
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.testing.cloud import Cloud

VOLUME, OTHER = VolumeId("5" * 32), VolumeId("6" * 32)
NOBODY = HostId("f" * 32)
MIB = 1 << 20


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """Two hosts with local storage, and nothing on it."""
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        cloud.site["storage"] = str((await cloud.query("PrimaryStorage"))[0]["uuid"])
        yield cloud


def driver(cloud: Cloud) -> LocalStorageDriver:
    found = cloud.node.context.extensions.named(PrimaryStorageDriver, TYPE)
    assert isinstance(found, LocalStorageDriver)
    return found


def storage(cloud: Cloud) -> PrimaryStorageId:
    return PrimaryStorageId(cloud.site["storage"])


def cluster(cloud: Cloud) -> ClusterId:
    return ClusterId(cloud.site["cluster"])


def host(cloud: Cloud, number: int) -> HostId:
    return HostId(cloud.site[f"host-{number}"])


def share(cloud: Cloud, number: int = 1) -> LocalStorageHost:
    (row,) = cloud.read_now(lambda tx: tx.find(LocalStorageHost, host_uuid=host(cloud, number)))
    return row


def whole(cloud: Cloud) -> PrimaryStorage:
    row = cloud.read_now(lambda tx: tx.get(PrimaryStorage, cloud.site["storage"]))
    assert row is not None
    return row


async def claim(cloud: Cloud, size: int, volume: VolumeId = VOLUME) -> bool:
    def fn(tx: Tx) -> bool:
        return driver(cloud).claim(tx, storage(cloud), host(cloud, 1), volume, size, None)

    return await cloud.node.context.store.write(fn)


def candidates(cloud: Cloud) -> list[Candidate]:
    return [
        Candidate(host_uuid=uuid, cluster_uuid=cluster(cloud), zone_uuid=ZoneId(cloud.site["zone"]), name="h")
        for uuid in (host(cloud, 1), host(cloud, 2), NOBODY)
    ]


async def test_a_volume_takes_its_size_of_its_host_and_gives_it_back_once(cloud: Cloud) -> None:
    before, other = share(cloud), share(cloud, 2)
    assert await claim(cloud, 3 * MIB)
    taken, home = share(cloud), cloud.read_now(lambda tx: driver(cloud).host_of(tx, VOLUME))
    for _ in range(2):
        await cloud.node.context.store.write(lambda tx: driver(cloud).release(tx, VOLUME))

    assert home == host(cloud, 1)
    assert before.available_capacity - taken.available_capacity == 3 * MIB
    assert (share(cloud), share(cloud, 2)) == (before, other)
    assert cloud.read_now(lambda tx: driver(cloud).host_of(tx, VOLUME)) is None


async def test_the_last_byte_can_be_taken_and_no_more(cloud: Cloud) -> None:
    free = share(cloud).available_capacity
    results = [await claim(cloud, free + 1), await claim(cloud, free), await claim(cloud, 1, OTHER)]

    assert results == [False, True, False]
    assert share(cloud).available_capacity == 0
    assert [row.resource_uuid for row in cloud.read_now(lambda tx: tx.find(LocalStorageVolume))] == [VOLUME]


async def test_hosts_without_space_or_storage_are_refused_for_a_new_volume_with_the_reason(cloud: Cloud) -> None:
    free = share(cloud).available_capacity
    await claim(cloud, free - 2 * MIB)

    def refused(size: int) -> dict[HostId, str]:
        return cloud.read_now(lambda tx: driver(cloud).refuse(tx, storage(cloud), candidates(cloud), size, None))

    unprepared = {NOBODY: "has its local storage not prepared yet"}
    assert refused(2 * MIB) == unprepared
    assert refused(3 * MIB) == {
        host(cloud, 1): "has 2 MiB of local storage free, and the disk needs 3 MiB",
        **unprepared,
    }


async def test_the_few_hosts_that_have_room_are_known_and_many_are_not_counted(cloud: Cloud) -> None:
    free = share(cloud).available_capacity
    await claim(cloud, MIB)

    def few(size: int, most: int) -> frozenset[HostId] | None:
        return cloud.read_now(lambda tx: driver(cloud).few_with_room(tx, storage(cloud), size, most))

    both = frozenset((host(cloud, 1), host(cloud, 2)))
    assert few(free - MIB, 2) == both
    assert few(free - MIB, 1) is None
    assert few(free, 1) == frozenset((host(cloud, 2),))
    assert few(free + 1, 1) == frozenset()


async def test_a_volume_that_is_there_binds_to_its_host_whatever_is_free(cloud: Cloud) -> None:
    await claim(cloud, MIB)

    def refused(volume: VolumeId) -> set[HostId]:
        return set(
            cloud.read_now(lambda tx: driver(cloud).refuse(tx, storage(cloud), candidates(cloud), 1 << 60, volume))
        )

    assert refused(VOLUME) == {host(cloud, 2), NOBODY}
    assert refused(OTHER) == {host(cloud, 1), host(cloud, 2), NOBODY}


async def test_volumes_keep_their_host_and_their_cluster_and_are_counted(cloud: Cloud) -> None:
    def reasons() -> list[str | None]:
        def fn(tx: Tx) -> list[str | None]:
            return [
                driver(cloud).why_not_remove(tx, host(cloud, 1)),
                driver(cloud).why_not_remove(tx, host(cloud, 2)),
                driver(cloud).detachable(tx, storage(cloud), cluster(cloud)),
                driver(cloud).detachable(tx, storage(cloud), ClusterId("f" * 32)),
            ]

        return cloud.read_now(fn)

    seen = [reasons()]
    for volume in (VOLUME, OTHER):
        await claim(cloud, MIB, volume)
        seen.append(reasons())

    expunge = "on disks of its hosts; expunge their VMs first"
    assert seen == [
        [None, None, None, None],
        ["1 volume is on its local storage", None, f"1 volume is {expunge}", None],
        ["2 volumes are on its local storage", None, f"2 volumes are {expunge}", None],
    ]


async def test_preparing_hosts_again_finds_the_same_space_less_what_is_taken(cloud: Cloud) -> None:
    total = share(cloud).total_capacity
    await claim(cloud, 3 * MIB)
    for _ in range(2):
        await cloud.clock.run(driver(cloud).attached(storage(cloud), cluster(cloud)))

    await cloud.quiet(2)
    mine, other = share(cloud), share(cloud, 2)
    assert (mine.total_capacity, mine.available_capacity) == (total, total - 3 * MIB)
    assert whole(cloud).available_capacity == mine.available_capacity + other.available_capacity


async def test_more_may_be_given_than_there_is_if_the_setting_says_so(cloud: Cloud) -> None:
    before = share(cloud)
    await cloud.call("UpdateGlobalConfig", category="localStorage", name="overProvisioning.ratio", value="2")
    assert await claim(cloud, 2 * before.available_capacity), "it counts at once"
    await cloud.quiet(2)

    after = share(cloud)
    assert (after.total_capacity, after.available_capacity) == (2 * before.total_capacity, 0)
    assert after.total_physical_capacity == before.total_physical_capacity > before.total_capacity
    assert whole(cloud).total_capacity == 4 * before.total_capacity


async def test_a_ping_without_news_looks_nothing_up_and_one_with_news_is_written(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cloud.quiet(61)
    writes = 0
    real = type(cloud.node.context.store).write

    async def counted(store: Store, fn: Callable[[Tx], object]) -> object:
        nonlocal writes
        writes += 1
        return await real(store, fn)

    path = whole(cloud).mount_path
    space = Space(total_bytes=1 << 40, available_bytes=1 << 39, used_bytes=0, file_system="disk")
    await driver(cloud).host_measured(host(cloud, 1), {path: space})
    monkeypatch.setattr(type(cloud.node.context.store), "write", counted)
    for _ in range(3):
        await driver(cloud).host_measured(host(cloud, 1), {path: space})
    assert writes == 0
    await driver(cloud).host_measured(host(cloud, 1), {path: replace(space, available_bytes=1 << 38)})
    assert writes == 1
    mine = share(cloud)
    assert (mine.total_physical_capacity, mine.available_physical_capacity) == (1 << 40, 1 << 38)
    assert mine.available_capacity == (1 << 38) - (1 << 30)


async def test_pings_tell_how_full_disks_are(cloud: Cloud) -> None:
    before = share(cloud).available_physical_capacity
    cloud.world.hosts["sim-0001"].used_bytes += 1 << 40
    await cloud.quiet(61)
    assert share(cloud).available_physical_capacity == before - (1 << 40)
    await cloud.quiet(2)
    assert whole(cloud).available_physical_capacity == 2 * before - (1 << 40)


async def test_a_storage_that_is_gone_or_a_host_of_another_cluster_prepares_nothing(cloud: Cloud) -> None:
    sent = len(cloud.transport.requests)
    await cloud.clock.run(driver(cloud).attached(PrimaryStorageId("f" * 32), cluster(cloud)))
    await cloud.clock.run(driver(cloud).attached(storage(cloud), ClusterId("f" * 32)))
    assert len(cloud.transport.requests) == sent


async def test_a_host_that_goes_takes_its_share_of_the_storage_along(cloud: Cloud) -> None:
    for _ in range(2):
        await cloud.node.context.store.write(lambda tx: driver(cloud).host_removed(tx, host(cloud, 2)))
    await cloud.quiet(2)

    mine, row = share(cloud), whole(cloud)
    assert cloud.read_now(lambda tx: tx.count(LocalStorageHost)) == 1
    assert (row.total_capacity, row.available_capacity) == (mine.total_capacity, mine.available_capacity)
    assert row.total_physical_capacity == mine.total_physical_capacity


class PaperCaches:
    """Notes which files are forgotten."""

    def __init__(self) -> None:
        self.forgotten: list[tuple[str, str]] = []

    async def forget(self, host: str, path: str) -> None:
        self.forgotten.append((host, path))


BASE = CachedImage(path="/s/base.qcow2", format="qcow2")
SPEC = VolumeSpec(
    uuid=VOLUME,
    primary_storage_uuid=PrimaryStorageId("s"),
    install_path="/s/disk.qcow2",
    format="qcow2",
    size_bytes=MIB,
    device_id=0,
)


def on_paper(cloud: Cloud, agents: PaperAgents, caches: PaperCaches) -> LocalStorageDriver:
    context = cloud.node.context
    space = DiskSpace(context.ids, context.config, context.events, Touched())
    debts = context.need(HostDebts)
    leftovers = Leftovers(context.store, context.queues, agents, debts, space)
    return LocalStorageDriver(context.store, context.bus, agents, cast("HostCaches", caches), leftovers, space)


@pytest.mark.parametrize("base", [BASE, None])
async def test_a_volumes_file_is_made_on_its_base(cloud: Cloud, base: CachedImage | None) -> None:
    agents, caches = PaperAgents(), PaperCaches()
    await on_paper(cloud, agents, caches).create_volume(SPEC, HostId("h1"), base)

    command = CreateVolume(
        path="/s/disk.qcow2",
        size_bytes=MIB,
        backing_path="/s/base.qcow2" if base else None,
        backing_format="qcow2" if base else None,
    )
    assert (agents.commands, caches.forgotten) == ([(command, None)], [])


@pytest.mark.parametrize(
    ("code", "base", "forgotten"),
    [
        (codes.MISSING_FILE, BASE, [("h1", "/s/base.qcow2")]),
        (codes.MISSING_FILE, None, []),
        ("agent.unreachable", BASE, []),
    ],
)
async def test_a_base_is_forgotten_only_when_its_host_has_lost_it(
    cloud: Cloud, code: str, base: CachedImage | None, forgotten: list[tuple[str, str]]
) -> None:
    caches = PaperCaches()
    with pytest.raises(CairnError) as caught:
        await on_paper(cloud, PaperAgents(code), caches).create_volume(SPEC, HostId("h1"), base)
    assert (caught.value.code, caches.forgotten) == (code, forgotten)


async def test_a_file_is_removed_where_it_was_made_or_where_the_rows_say_and_one_on_no_host_is_nowhere(
    cloud: Cloud,
) -> None:
    agents = PaperAgents()
    made = on_paper(cloud, agents, PaperCaches())
    await made.delete_volume(SPEC, None)
    await claim(cloud, MIB)
    for where in (None, HostId("elsewhere")):
        await made.delete_volume(SPEC, where)

    assert agents.asked == [f"{DeleteFile.name} on {cloud.site['host-1']}", f"{DeleteFile.name} on elsewhere"]


async def test_each_volume_has_a_folder_of_its_own_below_its_accounts(cloud: Cloud) -> None:
    path = driver(cloud).volume_path("/data", "acc", VolumeId("vol"))
    assert path == "/data/rootVolumes/acct-acc/vol-vol/vol.qcow2"
