"""Space for a new VM's root volume, and the image it is based on."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import ActionStep, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import taken
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import Candidate
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import CachedImage, NewVolume, PrimaryStorageDriver, RootStorage
from cairn.services.primary_storage.usable import UsableStorage


class ClaimStorageInput(Struct, frozen=True, kw_only=True):
    """The volume, its size, the image that it is based on, and its host."""

    image: ImageSpec
    root: NewVolume
    place: Candidate


class ClaimStorageOutput(Struct, frozen=True, kw_only=True):
    """The storage that the volume goes to."""

    root_storage: RootStorage


class ClaimStorage(TransactionStep[ClaimStorageInput, ClaimStorageOutput]):
    """Take the space for the root volume."""

    name = "primary-storage.claim"
    title = "choosing a place for the disk"

    def __init__(self, extensions: Extensions, usable: UsableStorage) -> None:
        self._extensions = extensions
        self._usable = usable

    def do(self, tx: Tx, given: ClaimStorageInput) -> ClaimStorageOutput:
        """Claim on the storage with the most space; if that does not take the volume, on the next one."""
        root = given.root
        choices = self._usable.of(tx, given.place.cluster_uuid, root.primary_storage_uuid)
        for storage in sorted(choices, key=lambda row: -row.available_capacity):
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            if driver.claim(tx, storage.uuid, given.place.host_uuid, root.uuid, root.size_bytes, given.image.uuid):
                return ClaimStorageOutput(root_storage=taken(RootStorage, storage))
        raise CairnError(
            "primary-storage.no-space",
            f"No primary storage of the chosen host has {root.size_bytes >> 20} MiB left for the disk. "
            "Ask for a smaller disk, expunge VMs, or add storage.",
            kind=ErrorKind.EXHAUSTED,
        )

    def undo(self, tx: Tx, given: ClaimStorageInput, made: ClaimStorageOutput | None) -> None:
        """Give the space back, if it was claimed."""
        if made is not None:
            self._extensions.named(PrimaryStorageDriver, made.root_storage.type).release(tx, given.root.uuid)


class CacheImageInput(Struct, frozen=True, kw_only=True):
    """The image, and the storage and host where it is needed."""

    image: ImageSpec
    root_storage: RootStorage
    place: Candidate


class CacheImageOutput(Struct, frozen=True, kw_only=True):
    """The image's file on that storage."""

    cached_image: CachedImage


class CacheImage(ActionStep[CacheImageInput, CacheImageOutput]):
    """Have the image on the primary storage, where the root volume can be based on it."""

    name = "primary-storage.cache-image"
    title = "fetching the image"
    nothing_to_undo: ClassVar[str | None] = (
        "the next VM of the image uses the cache; it goes with the image, or its last volume"
    )

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    async def do(self, given: CacheImageInput) -> CacheImageOutput:
        """Fetch the image, unless it was fetched before."""
        driver = self._extensions.named(PrimaryStorageDriver, given.root_storage.type)
        cached = await driver.cache_image(given.root_storage.uuid, given.place.host_uuid, given.image)
        return CacheImageOutput(cached_image=cached)
