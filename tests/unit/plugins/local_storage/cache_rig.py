"""Caches on hosts of paper, which have every image and count how often they are asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, ClassVar, TypeVar, cast

from tests.unit.services.storage_rig import IMAGE, StorageRig

from cairn.agents.protocol.storage import CacheImage, DeleteFile, ImageInfo
from cairn.agents.protocol.wire import AgentCommand, Done, Result
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import Key, Record, TableMeta, Visible
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.leftovers import Leftovers
from cairn.plugins.local_storage.model import LocalStorageHost, LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.host.provided import HostAgents, HostDebts
from cairn.services.ids import HostId, ImageId, PrimaryStorageId, VolumeId
from cairn.services.primary_storage.model import ImageCache

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


class PaperDebts(HostDebts):
    """Notes what is owed."""

    def __init__(self) -> None:
        self.owed: list[tuple[str, str, str]] = []

    def register(self, kind: str, collect: Callable[[HostId, str], Awaitable[None]]) -> None:
        raise NotImplementedError

    def owe(self, tx: Tx, host: HostId, kind: str, what: str, error: CairnError | str) -> None:
        self.owed.append((host, kind, what))


class CacheRig:
    """A node with a primary storage, and the caches on it."""

    def __init__(self) -> None:
        self.storages = StorageRig()
        self.agents = Agents()
        self.debts = PaperDebts()
        self.storage = PrimaryStorageId("")
        self.leftovers: Leftovers
        self.caches: HostCaches

    async def start(self) -> CacheRig:
        await self.storages.start(*TABLES)
        self.node = self.storages.node
        self.storage = await self.storages.storage(await self.storages.zone())
        await self.node.insert(Image(uuid=IMAGE.uuid), Host(uuid="h1"), Host(uuid="h2"))
        self.again()
        return self

    def again(self) -> None:
        """As after a restart."""
        context = self.node.context
        space = DiskSpace(context.ids, context.config, context.events, Touched())
        self.leftovers = Leftovers(context.store, context.queues, self.agents, self.debts, space)
        self.caches = HostCaches(
            context.store, context.ids, context.queues, self.agents, self.storages.sources, space, self.leftovers
        )

    async def stop(self) -> None:
        await self.storages.stop()

    async def cached(self, *hosts: str) -> None:
        for host in hosts:
            await self.caches.get(self.storage, HostId(host), IMAGE)

    async def share(self, *hosts: str) -> None:
        """The hosts have disks for the storage."""
        for host in hosts:
            row = LocalStorageHost(
                uuid=self.node.ids.new(),
                primary_storage_uuid=self.storage,
                host_uuid=HostId(host),
                file_system="disk",
            )
            await self.node.insert(row)

    async def place(self, volume: str, host: str, image: ImageId | None = IMAGE.uuid) -> None:
        """A volume is on the host."""
        row = LocalStorageVolume(
            resource_uuid=VolumeId(volume * 32),
            primary_storage_uuid=self.storage,
            host_uuid=HostId(host),
            size=100,
            image_uuid=image,
        )
        await self.node.insert(row)

    async def expunge(self) -> None:
        """The image is dropped and erased."""
        await self.caches.drop(self.storage, IMAGE.uuid)
        await self.node.context.store.write(lambda tx: tx.delete(Image, IMAGE.uuid))

    async def booked(self) -> list[int]:
        return [row.booked_capacity for row in await self.node.all(LocalStorageHost)]

    async def there(self) -> list[tuple[str, bool]]:
        """The hosts with a cache, and whether it is given up."""
        return sorted((str(row.host_uuid), row.given_up) for row in await self.node.all(ImageCache))
