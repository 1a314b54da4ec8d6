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
from cairn.plugins.local_storage.model import LocalStorageVolume
from cairn.services.host.provided import HostAgents
from cairn.services.ids import AccountId, HostId, VolumeId
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
    context = rig.node.context
    return HostCaches(context.store, context.ids, context.queues, agents)


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
    context = rig.node.context

    again = await HostCaches(context.store, context.ids, context.queues, agents).get(storage, HostId("h1"), IMAGE)

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
