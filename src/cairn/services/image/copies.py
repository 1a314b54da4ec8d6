"""The files of images on backup storages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath

import structlog
from msgspec import Struct

from cairn.agents.protocol.storage import DeleteFile
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.event import Events
from cairn.kernel.store.store import Store, Tx
from cairn.services.backup_storage.extensions import BackupStorageContent
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.ids import BackupStorageId
from cairn.services.image import config
from cairn.services.image.messages import ImageFormat
from cairn.services.image.model import Image, ImageBackupStorageRef, ImageStatus
from cairn.services.image.status import set_status

_log = structlog.get_logger("cairn.image")


class ImageCopy(Struct, frozen=True, kw_only=True):
    """A file of an image on a backup storage."""

    backup_storage_uuid: BackupStorageId
    backup_storage_name: str
    path: str


def path_of(url: str, image: str, image_format: ImageFormat) -> str:
    """The path of an image's file on a backup storage that keeps its images in the folder `url`."""
    return str(PurePosixPath(url) / "images" / image / f"image.{image_format.value}")


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
    """Removes the files of images from backup storages."""

    def __init__(self, agents: BackupStorageAgents, settings: GlobalConfig) -> None:
        self._agents = agents
        self._settings = settings

    async def remove(self, copies: Sequence[ImageCopy]) -> list[tuple[ImageCopy, CairnError]]:
        """Remove all files, all at once; safe to repeat. Returns those that could not be removed, each with the reason."""
        errors = await asyncio.gather(*(self._remove(copy) for copy in copies))
        return [(copy, error) for copy, error in zip(copies, errors, strict=True) if error is not None]

    async def _remove(self, copy: ImageCopy) -> CairnError | None:
        seconds = float(self._settings.get(config.FILE_TIMEOUT))
        try:
            await self._agents.call(copy.backup_storage_uuid, DeleteFile(path=copy.path), timeout_seconds=seconds)
        except CairnError as error:
            return None if error.code == "backup-storage.not-found" else error
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
        """Give the copies up, remove the files that can be reached, and forget all of them."""
        copies = await self._store.write(lambda tx: self._give_up(tx, storage))
        for copy, error in await self._files.remove(copies):
            _log.warning("image.file-left", backup_storage=storage, path=copy.path, error=str(error))
        await self._store.write(lambda tx: tx.delete_where(ImageBackupStorageRef, backup_storage_uuid=storage))

    def _give_up(self, tx: Tx, storage: BackupStorageId) -> list[ImageCopy]:
        """An image that is Ready nowhere else becomes Deleted; one that is being fetched is left to its job."""
        refs = tx.find(ImageBackupStorageRef, backup_storage_uuid=storage)
        tx.update_where(
            ImageBackupStorageRef, {"backup_storage_uuid": storage}, status=ImageStatus.DELETED, given_up=True
        )
        for image in tx.find(Image, uuid=[ref.image_uuid for ref in refs], status=ImageStatus.READY):
            if not tx.count(ImageBackupStorageRef, image_uuid=image.uuid, status=ImageStatus.READY):
                set_status(tx, self._events, image, ImageStatus.DELETED)
        return copies_of(tx, refs)
