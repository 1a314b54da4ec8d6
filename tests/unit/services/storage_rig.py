"""Primary storage on a small node, with a kind of storage of paper and a table of things that are on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import Reference
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.kernel.store.record import Key, Record, References, TableMeta
from cairn.kernel.store.store import Tx
from cairn.services.cluster.manifest import MANIFEST as CLUSTER
from cairn.services.cluster.messages import CreateCluster, HypervisorType
from cairn.services.host.extensions import Candidate
from cairn.services.ids import ClusterId, HostId, ImageId, PrimaryStorageId, ZoneId
from cairn.services.image.messages import ImageSpec
from cairn.services.image.provided import ImageSources
from cairn.services.primary_storage.extensions import CachedImage, PrimaryStorageDriver, VolumeSpec
from cairn.services.primary_storage.manifest import MANIFEST as PRIMARY_STORAGE
from cairn.services.primary_storage.messages import AttachPrimaryStorageToCluster
from cairn.services.primary_storage.model import PrimaryStorage
from cairn.services.zone.messages import CreateZone

PAPER = "PaperStorage"
IMAGE = ImageSpec(
    uuid=ImageId("1" * 32),
    name="tiny",
    format="qcow2",
    platform="Linux",
    architecture="x86_64",
    guest_os_type=None,
    size_bytes=1 << 20,
    actual_size_bytes=1 << 16,
    sha256="0" * 64,
)


class Disk(Record, frozen=True, kw_only=True):
    """Something that a test puts on a primary storage."""

    meta: ClassVar[TableMeta] = TableMeta(table="paper_disk")

    uuid: Annotated[str, Key()]
    primary_storage_uuid: Annotated[str, References("primary_storage")]


class PaperStorage(PrimaryStorageDriver):
    """Shared storage whose space is what a test says; it notes what it is asked for."""

    def __init__(self) -> None:
        self.free: dict[str, int] = {}  #: storage -> bytes
        self.claims: dict[str, str] = {}  #: volume -> storage
        self.based_on: dict[str, str | None] = {}  #: volume -> image
        self.prepared: list[tuple[str, str]] = []
        self.cleared: list[str] = []
        self.refuse_drop: CairnError | None = None
        self.dropped: list[tuple[str, str]] = []
        self.few: frozenset[HostId] | None = None  #: the only hosts with room
        self.kept_by: str | None = None  #: why it cannot be detached

    def refuse(
        self, tx: Tx, storage: str, candidates: Sequence[Candidate], disk_bytes: int, volume: str | None
    ) -> dict[HostId, str]:
        reason = f"does not reach {volume}" if volume is not None else f"has {self.free[storage]} bytes free"
        fits = self.claims.get(volume) == storage if volume is not None else self.free[storage] >= disk_bytes
        return {} if fits else {candidate.host_uuid: reason for candidate in candidates}

    def few_with_room(self, tx: Tx, storage: str, disk_bytes: int, most: int) -> frozenset[HostId] | None:
        return self.few

    def claim(self, tx: Tx, storage: str, host: str, volume: str, size_bytes: int, image: str | None) -> bool:
        if self.free[storage] < size_bytes:
            return False
        self.claims[volume] = storage
        self.based_on[volume] = image
        return True

    def release(self, tx: Tx, volume: str) -> None:
        self.claims.pop(volume, None)

    def host_of(self, tx: Tx, volume: str) -> HostId | None:
        return None

    def volume_path(self, mount_path: str, account: str, volume: str) -> str:
        return f"{mount_path}/{volume}"

    async def cache_image(self, storage: str, host: str, image: ImageSpec) -> CachedImage:
        return CachedImage(path=f"/{storage}/{image.uuid}", format=image.format)

    async def drop_image(self, storage: str, image: str) -> None:
        if self.refuse_drop is not None:
            raise self.refuse_drop
        self.dropped.append((storage, image))

    async def create_volume(self, volume: VolumeSpec, host: str, base: CachedImage | None) -> None:
        raise NotImplementedError

    async def delete_volume(self, volume: VolumeSpec, host: str | None) -> None:
        raise NotImplementedError

    async def attached(self, storage: str, cluster: str) -> None:
        self.prepared.append((storage, cluster))

    def detachable(self, tx: Tx, storage: str, cluster: str) -> str | None:
        return self.kept_by

    async def clear(self, storage: str) -> None:
        self.cleared.append(storage)


class PaperSources(ImageSources):
    """Images that every zone has, for every kind of processor, unless a test says otherwise."""

    def __init__(self) -> None:
        self.architectures: dict[str, str] = {}  #: by image; others are gone
        self.reached: frozenset[ZoneId] = frozenset()

    def zones(self, tx: Tx, image: str) -> frozenset[ZoneId]:
        return self.reached

    def url(self, tx: Tx, image: str, zone: str) -> str:
        return f"http://{zone}/{image}.qcow2"

    def architecture(self, tx: Tx, image: str) -> str | None:
        return self.architectures.get(image)


class StorageRig:
    """A node with primary storage."""

    def __init__(self) -> None:
        self.node = SmallNode()
        self.driver = PaperStorage()
        self.sources = PaperSources()

    async def start(self, *more: Manifest) -> StorageRig:
        """Build the services as a node does."""
        paper = Manifest(package=__name__, doc="A kind of storage of paper.", build=self._build)
        await self.node.start(CLUSTER, paper, PRIMARY_STORAGE, *more)
        return self

    def _build(self, node: NodeContext) -> None:
        node.provide(ImageSources, self.sources)
        node.extensions.provide(PrimaryStorageDriver, self.driver, name=PAPER)

    async def stop(self) -> None:
        await self.node.stop()

    # -- short cuts -----------------------------------------------------------------------------------------------

    async def zone(self, name: str = "zone") -> ZoneId:
        return ZoneId((await self.node.call(CreateZone(resource_uuid=self.node.ids.new(), name=name))).uuid)

    async def cluster(self, zone: ZoneId) -> ClusterId:
        message = CreateCluster(
            resource_uuid=self.node.ids.new(), name="c1", zone_uuid=zone, hypervisor_type=HypervisorType.KVM
        )
        return ClusterId((await self.node.call(message)).uuid)

    async def storage(self, zone: ZoneId, name: str = "store", *, free: int = 1 << 30) -> PrimaryStorageId:
        uuid = PrimaryStorageId(self.node.ids.new())
        self.driver.free[uuid] = free
        now = self.node.clock.now()
        row = PrimaryStorage(
            uuid=uuid,
            name=name,
            zone_uuid=zone,
            url=f"/{name}",
            type=PAPER,
            mount_path=f"/{name}",
            available_capacity=free,
            create_date=now,
            last_op_date=now,
        )
        await self.node.insert(row)
        return uuid

    async def attach(self, storage: str, cluster: str) -> Reference:
        return await self.node.call(AttachPrimaryStorageToCluster(primary_storage_uuid=storage, cluster_uuid=cluster))


def candidate(cluster: str, host: str = "h1") -> Candidate:
    return Candidate(host_uuid=HostId(host), cluster_uuid=ClusterId(cluster), zone_uuid=ZoneId("z"), name=host)
