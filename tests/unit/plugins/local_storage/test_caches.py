from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, ClassVar, TypeVar, cast

import pytest
from tests.unit.services.storage_rig import IMAGE, StorageRig

from cairn.agents.protocol.storage import CacheImage, DeleteFile, ImageInfo
from cairn.agents.protocol.wire import AgentCommand, Done, Result
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import Key, Record, TableMeta, Visible
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.model import LocalStorageHost, LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.host.provided import HostAgents
from cairn.services.ids import AccountId, HostId, PrimaryStorageId, VolumeId
from cairn.services.primary_storage.model import ImageCache
from cairn.services.volume.model import Volume

R = TypeVar("R", bound=Result)


class Image(Record, frozen=True, kw_only=True):
    """What volumes refer to."""

    meta: ClassVar[TableMeta] = TableMeta(table="image", entity="Image", visible=Visible.ADMIN)

    uuid: Annotated[str, Key()]


class Vm(Record, frozen=True, kw_only=True):
    """What volumes refer to."""

    meta: ClassVar[TableMeta] = TableMeta(table="vm_instance", entity="VmInstance", visible=Visible.ADMIN)

    uuid: Annotated[str, Key()]


class Host(Record, frozen=True, kw_only=True):
    """What volumes' places refer to."""

    meta: ClassVar[TableMeta] = TableMeta(table="host", entity="Host", visible=Visible.ADMIN)

    uuid: Annotated[str, Key()]


TABLES = [
    Manifest(package=package, doc="Tables alone.")
    for package in (__name__, "cairn.services.volume.model", "cairn.plugins.local_storage.model")
]


class Agents(HostAgents):
    """Hosts that have every image, and count how often they are asked."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.urls: list[str] = []
        self.deleted: list[str] = []
        self.refuse: CairnError | None = None

    async def call(
        self, host: str, command: AgentCommand[R], *, timeout_seconds: float | None = None, idle: bool = False
    ) -> R:
        if self.refuse is not None:
            raise self.refuse
        if isinstance(command, DeleteFile):
            self.deleted.append(host)
            return cast("R", Done())
        assert isinstance(command, CacheImage)
        self.fetched.append(host)
        self.urls.append(command.url)
        info = ImageInfo(path=command.path, format="qcow2", virtual_size_bytes=100, actual_size_bytes=10)
        return cast("R", info)


@pytest.fixture
async def rig() -> AsyncIterator[StorageRig]:
    rig = await StorageRig().start(*TABLES)
    yield rig
    await rig.stop()


@pytest.fixture
def agents() -> Agents:
    return Agents()


@pytest.fixture
def caches(rig: StorageRig, agents: Agents) -> HostCaches:
    return made(rig, agents)


def made(rig: StorageRig, agents: Agents) -> HostCaches:
    """The caches, as after a restart."""
    context = rig.node.context
    space = DiskSpace(context.ids, context.config, context.events, Touched())
    return HostCaches(context.store, context.ids, context.queues, agents, rig.sources, space)


async def test_many_callers_at_once_cause_one_download_per_host(
    rig: StorageRig, agents: Agents, caches: HostCaches
) -> None:
    storage = await rig.storage(await rig.zone())

    found = await asyncio.gather(*(caches.get(storage, HostId(host), IMAGE) for host in ("h1", "h1", "h2", "h1")))

    assert sorted(agents.fetched) == ["h1", "h2"]
    assert {cached.path for cached in found} == {f"/store/imagecache/template/{IMAGE.uuid}/{IMAGE.uuid}.qcow2"}
    rows = await rig.node.all(ImageCache)
    assert sorted((str(row.host_uuid), row.size, row.actual_size) for row in rows) == [("h1", 100, 10), ("h2", 100, 10)]


@pytest.mark.parametrize(("kind", "rows"), [(ErrorKind.INVALID, 0), (ErrorKind.UNAVAILABLE, 1)])
async def test_a_failed_download_leaves_a_row_only_if_the_host_may_have_the_file(
    rig: StorageRig, agents: Agents, caches: HostCaches, kind: ErrorKind, rows: int
) -> None:
    storage = await rig.storage(await rig.zone())
    agents.refuse = CairnError("agent.download-failed", "No.", kind=kind)
    with pytest.raises(CairnError):
        await caches.get(storage, HostId("h1"), IMAGE)

    assert [row.actual_size for row in await rig.node.all(ImageCache)] == [0] * rows
    agents.refuse = None
    await caches.get(storage, HostId("h1"), IMAGE)
    assert [row.actual_size for row in await rig.node.all(ImageCache)] == [10]


async def test_a_cache_that_is_forgotten_is_fetched_again(rig: StorageRig, agents: Agents, caches: HostCaches) -> None:
    storage = await rig.storage(await rig.zone())
    cached = await caches.get(storage, HostId("h1"), IMAGE)
    await caches.get(storage, HostId("h2"), IMAGE)

    await caches.forget(HostId("h1"), cached.path)
    for host in ("h1", "h2"):
        await caches.get(storage, HostId(host), IMAGE)

    assert agents.fetched == ["h1", "h2", "h1"]


async def test_what_is_written_down_is_not_fetched_again_after_a_restart(
    rig: StorageRig, agents: Agents, caches: HostCaches
) -> None:
    storage = await rig.storage(await rig.zone())
    first = await caches.get(storage, HostId("h1"), IMAGE)

    again = await made(rig, agents).get(storage, HostId("h1"), IMAGE)

    assert (again, agents.fetched) == (first, ["h1"])


async def test_caches_under_volumes_stay_and_the_others_go(rig: StorageRig, agents: Agents, caches: HostCaches) -> None:
    storage = await rig.storage(await rig.zone())
    now = rig.node.clock.now()
    for host in ("h1", "h2"):
        await caches.get(storage, HostId(host), IMAGE)
    volume = Volume(
        uuid=VolumeId("d" * 32),
        name="ROOT",
        account_uuid=AccountId("a" * 32),
        primary_storage_uuid=storage,
        root_image_uuid=IMAGE.uuid,
        install_path="/x",
        size=100,
        create_date=now,
        last_op_date=now,
    )
    place = LocalStorageVolume(
        resource_uuid=volume.uuid, primary_storage_uuid=storage, host_uuid=HostId("h2"), size=100
    )
    await rig.node.insert(Image(uuid=IMAGE.uuid), Host(uuid="h2"), volume, place)

    for _ in range(2):
        await caches.drop(storage, IMAGE.uuid)

    assert agents.deleted == ["h1"]
    assert [row.host_uuid for row in await rig.node.all(ImageCache)] == ["h2"]


async def share(rig: StorageRig, storage: PrimaryStorageId, host: str) -> None:
    """The host has a disk for the storage."""
    await rig.node.insert(Host(uuid=host))
    row = LocalStorageHost(
        uuid=rig.node.ids.new(), primary_storage_uuid=storage, host_uuid=HostId(host), file_system="disk"
    )
    await rig.node.insert(row)


async def booked(rig: StorageRig) -> list[int]:
    return [row.booked_capacity for row in await rig.node.all(LocalStorageHost)]


async def test_a_cache_is_booked_on_its_disk_while_it_is_there(
    rig: StorageRig, agents: Agents, caches: HostCaches
) -> None:
    storage = await rig.storage(await rig.zone())
    await share(rig, storage, "h1")
    cached = await caches.get(storage, HostId("h1"), IMAGE)
    seen = [await booked(rig)]
    await caches.forget(HostId("h1"), cached.path)
    seen.append(await booked(rig))
    await caches.get(storage, HostId("h1"), IMAGE)
    seen.append(await booked(rig))
    for _ in range(2):
        await caches.drop(storage, IMAGE.uuid)
    seen.append(await booked(rig))

    assert seen == [[10], [0], [10], [0]]


async def test_a_cache_on_a_host_that_cannot_be_reached_is_a_debt_that_is_collected_when_it_connects(
    rig: StorageRig, agents: Agents, caches: HostCaches
) -> None:
    storage = await rig.storage(await rig.zone())
    for host in ("h1", "h2"):
        await share(rig, storage, host)
        await caches.get(storage, HostId(host), IMAGE)
    agents.refuse = CairnError("host.disconnected", "No.", kind=ErrorKind.UNAVAILABLE)
    await caches.drop(storage, IMAGE.uuid)

    assert [row.given_up for row in await rig.node.all(ImageCache)] == [True, True]
    await caches.collect(HostId("h1"))
    assert len(await rig.node.all(ImageCache)) == 2
    agents.refuse = None
    for _ in range(2):
        await caches.collect(HostId("h1"))
    assert [row.host_uuid for row in await rig.node.all(ImageCache)] == ["h2"]
    assert (agents.deleted, await booked(rig)) == (["h1"], [0, 10])


async def test_an_image_that_was_given_up_is_not_taken_for_another_with_its_uuid(
    rig: StorageRig, agents: Agents, caches: HostCaches
) -> None:
    storage = await rig.storage(await rig.zone())
    await caches.get(storage, HostId("h1"), IMAGE)
    agents.refuse = CairnError("host.disconnected", "No.", kind=ErrorKind.UNAVAILABLE)
    await caches.drop(storage, IMAGE.uuid)
    with pytest.raises(CairnError) as caught:
        await caches.get(storage, HostId("h1"), IMAGE)
    assert caught.value.code == "primary-storage.cache-left"
    agents.refuse = None
    await caches.get(storage, HostId("h1"), IMAGE)

    assert (agents.deleted, agents.fetched) == (["h1"], ["h1", "h1"])


async def test_an_image_is_fetched_from_the_storages_zone(rig: StorageRig, agents: Agents, caches: HostCaches) -> None:
    zone = await rig.zone()
    await caches.get(await rig.storage(zone), HostId("h1"), IMAGE)
    assert agents.urls == [f"http://{zone}/{IMAGE.uuid}.qcow2"]
