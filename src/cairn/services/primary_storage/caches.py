"""The caches of images on primary storage."""

from __future__ import annotations

import structlog

from cairn.kernel.error import CairnError
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.services.ids import ImageId
from cairn.services.image.extensions import ImageCaches
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage

_log = structlog.get_logger("cairn.primary-storage")


class StorageCaches(ImageCaches):
    """Has each primary storage's driver drop its caches."""

    def __init__(self, store: Store, extensions: Extensions) -> None:
        self._store = store
        self._extensions = extensions

    async def drop(self, image_uuid: ImageId) -> None:
        """Drop the caches of an image on all storage that has one.

        Storage whose driver fails, or is left out with its plugin, keeps its caches; the driver finds them later.
        """

        def fn(tx: Tx) -> list[PrimaryStorage]:
            caches = tx.find(ImageCache, image_uuid=image_uuid)
            return tx.find(PrimaryStorage, uuid=sorted({cache.primary_storage_uuid for cache in caches}))

        for storage in await self._store.read(fn):
            try:
                await self._extensions.named(PrimaryStorageDriver, storage.type).drop_image(storage.uuid, image_uuid)
            except CairnError as error:
                _log.warning(
                    "image-cache.not-dropped", primary_storage=storage.uuid, image=image_uuid, error=str(error)
                )
