"""The extension point of primary storage: kinds of it; and the records that describe what is on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate
from cairn.services.ids import ClusterId, HostId, ImageId, PrimaryStorageId, VolumeId
from cairn.services.image.messages import ImageSpec


class VolumeSpec(Struct, frozen=True, kw_only=True):
    """A volume, as VMs and storage need it."""

    uuid: VolumeId
    primary_storage_uuid: PrimaryStorageId
    install_path: str
    format: str
    size_bytes: int
    device_id: int


class NewVolume(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume that is to be made."""

    uuid: VolumeId
    name: str
    size_bytes: int
    primary_storage_uuid: str | None = None  #: where it must be; None: the storage with the most space


class RootStorage(Struct, frozen=True, kw_only=True):
    """The primary storage that a VM's root volume is on."""

    uuid: PrimaryStorageId
    type: str  #: ``LocalStorage``; names the driver
    mount_path: str


class CachedImage(Struct, frozen=True, kw_only=True):
    """The cached file of an image."""

    path: str
    format: str


class PrimaryStorageDriver(Protocol):
    """A kind of primary storage, named by its type (``LocalStorage``).

    The synchronous methods are called inside transactions.
    """

    def refuse(
        self,
        tx: Tx,
        storage: PrimaryStorageId,
        candidates: Sequence[Candidate],
        disk_bytes: int,
        volume: VolumeId | None,
    ) -> dict[HostId, str]:
        """Hosts that cannot hold a new volume of that size, or do not have `volume`: host uuid -> why.

        The reason is the end of a sentence about the host: ``has 3 MiB of local storage free``.
        """

    def few_with_room(self, tx: Tx, storage: PrimaryStorageId, disk_bytes: int, most: int) -> frozenset[HostId] | None:
        """The only hosts on which a new volume of that size can be, if they are at most `most`; None: more, or not known.

        Called once a claim, and only when the first candidates were all refused; it must not look at more rows than that.
        """
        return None

    def claim(
        self, tx: Tx, storage: PrimaryStorageId, host: HostId, volume: VolumeId, size_bytes: int, image: ImageId | None
    ) -> bool:
        """Take the space for a volume; False if `host` cannot reach that much.

        Args:
            image: whose cache the volume will be based on; as long as the claim lasts the cache stays. None: on nothing.
        """

    def release(self, tx: Tx, volume: VolumeId) -> None:
        """Give a volume's space back; the volume needs its image's cache no more. Safe to repeat."""

    def host_of(self, tx: Tx, volume: VolumeId) -> HostId | None:
        """The host whose disk a volume is on; None: every host can reach it."""

    def volume_path(self, mount_path: str, account: str, volume: VolumeId) -> str:
        """The path of a root volume's file."""

    async def cache_image(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        """Have the image where volumes for `host` can be based on it. Safe to repeat."""

    async def drop_image(self, storage: PrimaryStorageId, image: ImageId) -> None:
        """The image goes: see that its caches go, each as soon as no volume is based on it and its host can be reached.

        Does not wait for hosts. Safe to repeat.
        """

    async def create_volume(self, volume: VolumeSpec, host: HostId, base: CachedImage | None) -> None:
        """Make the volume's file if it is not there. Safe to repeat."""

    async def delete_volume(self, volume: VolumeSpec, host: HostId | None) -> None:
        """Remove the volume's file. Safe to repeat; nothing there is success.

        Args:
            host: where the file was made, for an undo, which must not rely on rows; None: where the rows say it is.
        """

    async def attached(self, storage: PrimaryStorageId, cluster: ClusterId) -> None:
        """A cluster starts to use the storage: prepare the cluster's connected hosts. Safe to repeat."""

    def detachable(self, tx: Tx, storage: PrimaryStorageId, cluster: ClusterId) -> str | None:
        """The reason why the cluster still needs the storage, as the end of a sentence; None: it can be detached."""

    async def clear(self, storage: PrimaryStorageId) -> None:
        """The storage leaves the cloud, and no volume is on it any more: remove what else is on it, its caches.

        What cannot be reached is left and owed (`HostDebts`), not waited for. Safe to repeat; nothing there is success.
        """
