"""The files of images on backup storages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from cairn.agents.protocol.storage import DeleteFile
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.event import Events
from cairn.kernel.store.store import Store, Tx
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents, BackupStorageDebts
from cairn.services.ids import BackupStorageId
from cairn.services.image import config
from cairn.services.image.messages import ImageFormat
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.status import set_status

_PARALLELISM = 10
_OUT_OF_REACH = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT})


class ImageCopy(Struct, frozen=True, kw_only=True):
    """A file of an image on a backup storage."""

    backup_storage_uuid: BackupStorageId
    backup_storage_name: str
    path: str


class LeftCopy(Struct, frozen=True, kw_only=True):
    """A file that could not be removed."""

    copy: ImageCopy
    reason: str


def path_of(url: str, image: str, copy: str, image_format: ImageFormat) -> str:
    """The path of an image's file on a backup storage that keeps its images in the folder `url`.

    It is named by the copy's own uuid: a path that is owed (`BackupStorageDebts`) is never that of another file, even if
    somebody adds another image with the same uuid.
    """
    return str(PurePosixPath(url) / "images" / image / f"{copy}.{image_format.value}")


def copies_of(tx: Tx, refs: Sequence[ImageBackupStorageRef]) -> list[ImageCopy]:
    """The files that `refs` stand for."""
    storages = tx.find(BackupStorage, uuid=[ref.backup_storage_uuid for ref in refs])
    names = {storage.uuid: storage.name for storage in storages}
    return [
        ImageCopy(
            backup_storage_uuid=ref.backup_storage_uuid,
            backup_storage_name=names[ref.backup_storage_uuid],
            path=ref.install_path,
        )
        for ref in refs
    ]


class ImageFiles:
    """Removes the files of images from backup storages, now or as soon as those can be reached."""

    def __init__(
        self, store: Store, agents: BackupStorageAgents, debts: BackupStorageDebts, settings: GlobalConfig
    ) -> None:
        self._store = store
        self._agents = agents
        self._debts = debts
        self._settings = settings

    async def remove(self, copies: Sequence[ImageCopy]) -> None:
        """Remove files that nobody wants any more; what cannot be removed now is a debt of its backup storage. Safe to repeat."""
        left = await self.remove_what_can_be(copies)
        if left:
            await self._store.write(lambda tx: self.owe(tx, left))

    async def remove_what_can_be(self, copies: Sequence[ImageCopy]) -> list[LeftCopy]:
        """Remove files, some at a time; safe to repeat. Returns those that could not be removed.

        A backup storage that was found to be out of reach is not asked again: with many files each would take its whole time.
        """
        gate, lost = asyncio.Semaphore(_PARALLELISM), dict[BackupStorageId, CairnError]()

        async def one(copy: ImageCopy) -> CairnError | None:
            async with gate:
                known = lost.get(copy.backup_storage_uuid)
                return known if known is not None else await self._remove(copy, lost)

        errors = await asyncio.gather(*(one(copy) for copy in copies))
        found = zip(copies, errors, strict=True)
        return [LeftCopy(copy=copy, reason=str(error)) for copy, error in found if error is not None]

    def owe(self, tx: Tx, left: Sequence[LeftCopy]) -> None:
        """Have files that are left removed when their backup storages can be reached. Safe to repeat."""
        for one in left:
            self._debts.owe(tx, one.copy.backup_storage_uuid, one.copy.path, one.reason)

    async def _remove(self, copy: ImageCopy, lost: dict[BackupStorageId, CairnError]) -> CairnError | None:
        seconds = float(self._settings.get(config.FILE_TIMEOUT))
        try:
            await self._agents.call(copy.backup_storage_uuid, DeleteFile(path=copy.path), timeout_seconds=seconds)
        except CairnError as error:
            if error.code == "backup-storage.not-found":
                return None  # it owed the file when it left the cloud
            if error.kind in _OUT_OF_REACH:
                lost[copy.backup_storage_uuid] = error
            return error
        return None


class ImagesOnBackupStorage(BackupStorageContent):
    """Keeps a backup storage from being deleted while images are on it."""

    def __init__(self, store: Store, events: Events, files: ImageFiles) -> None:
        self._store = store
        self._events = events
        self._files = files

    def why_not_remove(self, tx: Tx, storage: BackupStorageId) -> str | None:
        """Copies keep it, even those of deleted images that are not expunged yet."""
        count = tx.count(ImageBackupStorageRef, backup_storage_uuid=storage)
        return f"{count} image{'s are' if count > 1 else ' is'} on it" if count else None

    async def remove_all(self, storage: BackupStorageId) -> None:
        """Give the copies up, remove the files or have them owed, and forget all of them."""
        copies = await self._store.write(lambda tx: self._give_up(tx, storage))
        await self._files.remove(copies)
        await self._store.write(lambda tx: tx.delete_where(ImageBackupStorageRef, backup_storage_uuid=storage))

    def _give_up(self, tx: Tx, storage: BackupStorageId) -> list[ImageCopy]:
        """An image that is Ready nowhere else becomes Deleted; one that is being fetched is left to its job."""
        refs = tx.find(ImageBackupStorageRef, backup_storage_uuid=storage)
        tx.find(Image, uuid=sorted({ref.image_uuid for ref in refs}), order_by="uuid", lock=True)  # before their copies
        refs = tx.find(ImageBackupStorageRef, backup_storage_uuid=storage)
        coming = copies_of(tx, [ref for ref in refs if ref.status is ImageStatus.DOWNLOADING])
        self._files.owe(tx, [LeftCopy(copy=copy, reason="It was being fetched there.") for copy in coming])
        tx.update_where(
            ImageBackupStorageRef, {"backup_storage_uuid": storage}, status=ImageStatus.DELETED, given_up=True
        )
        for image in tx.find(Image, uuid=[ref.image_uuid for ref in refs], status=ImageStatus.READY):
            if not tx.count(ImageBackupStorageRef, image_uuid=image.uuid, status=ImageStatus.READY):
                set_status(tx, self._events, image, ImageStatus.DELETED)
        return copies_of(tx, refs)
