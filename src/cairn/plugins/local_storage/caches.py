"""Images that are cached on hosts' disks, so that volumes there can be based on them.

A cache is a row and a file. The row comes first, with a size of 0, so that a file which a lost host may have is known, and
is removed with the image; it gets its size once the file is complete, and that is booked on the disk. Complete caches are
remembered in memory, because every new VM asks for one.

A cache whose image is gone and whose host cannot be reached is a debt: its row is marked as given up, and the file is removed
when the host connects again.
"""

from __future__ import annotations

from functools import partial

import structlog
from msgspec.structs import replace
from sqlalchemy import bindparam, select

from cairn.agents.protocol import storage as agent
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.queue import ResourceQueues, queue_key
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.model import LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId, ImageId, PrimaryStorageId
from cairn.services.image.messages import ImageSpec
from cairn.services.image.provided import ImageSources
from cairn.services.primary_storage.extensions import CachedImage
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage
from cairn.services.volume.model import Volume

_log = structlog.get_logger("cairn.local-storage")
_DOWNLOAD_SECONDS = 1800.0
#: errors that leave it open whether the host did it
_NO_WORD = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT})

_place, _volume = table_of(LocalStorageVolume), table_of(Volume)
#: the hosts of a storage with volumes that are based on an image
_USED = (
    select(_place.c.host_uuid)
    .distinct()
    .select_from(_place.join(_volume, _volume.c.uuid == _place.c.resource_uuid))
    .where(_volume.c.primary_storage_uuid == bindparam("storage"), _volume.c.root_image_uuid == bindparam("image"))
)


class HostCaches:
    """Fetches images onto hosts, once each, and removes them."""

    def __init__(
        self,
        store: Store,
        ids: IdSource,
        queues: ResourceQueues,
        agents: HostAgents,
        sources: ImageSources,
        space: DiskSpace,
    ) -> None:
        self._store = store
        self._sources = sources
        self._space = space
        self._ids = ids
        self._queues = queues
        self._agents = agents
        self._complete: dict[tuple[PrimaryStorageId, HostId, ImageId], CachedImage] = {}  #: by storage, host and image

    async def get(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        """Have the image on the host; many callers at once cause one download."""
        key = (storage, host, image.uuid)
        known = self._complete.get(key)
        if known is not None:
            return known

        async def work() -> CachedImage:
            return self._complete.get(key) or await self._fetch(storage, host, image)

        return await self._queues.run(
            queue_key("image-cache", f"{storage}-{host}-{image.uuid}"), work, name="fetch image"
        )

    async def drop(self, storage: PrimaryStorageId, image: ImageId) -> None:
        """Remove the image's caches from hosts where no volume is based on it. Safe to repeat.

        Where it cannot be removed now it is given up, and removed when the host connects.
        """

        def fn(tx: Tx) -> list[ImageCache]:
            used = {str(host) for (host,) in tx.rows(_USED, {"storage": storage, "image": image})}
            caches = tx.find(ImageCache, primary_storage_uuid=storage, image_uuid=image)
            return [cache for cache in caches if cache.host_uuid not in used]

        for cache in await self._store.read(fn):
            if not await self._is_removed(cache):
                await self._store.write(partial(_give_up, cache.uuid))

    async def collect(self, host: HostId) -> None:
        """Remove the files that were given up while the host could not be reached. Safe to repeat."""
        for cache in await self._store.read(lambda tx: tx.find(ImageCache, host_uuid=host, given_up=True)):
            await self._is_removed(cache)

    async def forget(self, host: HostId, path: str) -> None:
        """The file is not there any more: it is fetched again when it is needed."""
        self._complete = {key: one for key, one in self._complete.items() if (key[1], one.path) != (host, path)}

        def fn(tx: Tx) -> None:
            for cache in tx.find(ImageCache, host_uuid=host, install_path=path):
                self._delete(cache, tx)

        await self._store.write(fn)

    async def _is_removed(self, cache: ImageCache) -> bool:
        """Remove a cache's file and its row; False: it cannot be removed now."""
        host = cache.host_uuid or HostId("")
        self._complete.pop((cache.primary_storage_uuid, host, cache.image_uuid), None)
        try:
            await self._agents.call(host, agent.DeleteFile(path=cache.install_path))
        except CairnError as error:
            _log.warning("image-cache.left", host=host, path=cache.install_path, error=str(error))
            return False
        await self._store.write(partial(self._delete, cache))
        return True

    def _delete(self, cache: ImageCache, tx: Tx) -> None:
        """Forget a cache, and give its space back; one that is gone is left alone."""
        row = tx.get(ImageCache, cache.uuid)
        if row is not None:
            tx.delete(ImageCache, row.uuid)
            self._space.book(tx, row.primary_storage_uuid, row.host_uuid or HostId(""), -row.actual_size)

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host leaves the cloud, and its caches with it. Safe to repeat."""
        tx.delete_where(ImageCache, host_uuid=host)
        tx.after_commit(self._complete.clear)

    async def _fetch(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        def fn(tx: Tx) -> tuple[ImageCache | None, PrimaryStorage | None]:
            return _row(tx, storage, host, image), tx.get(PrimaryStorage, storage)

        row, home = await self._store.read(fn)
        if row is not None and row.given_up and not await self._is_removed(row):
            raise _left_over(row)
        row = None if row is not None and row.given_up else row
        if row is None or not row.actual_size:
            assert home is not None
            row = await self._download(home, host, image)
        cached = self._complete[(storage, host, image.uuid)] = CachedImage(path=row.install_path, format=row.format)
        return cached

    async def _download(self, storage: PrimaryStorage, host: HostId, image: ImageSpec) -> ImageCache:
        url = await self._store.read(lambda tx: self._sources.url(tx, image.uuid, storage.zone_uuid))
        begun = await self._store.write(lambda tx: self._begin(tx, storage, host, image))
        command = agent.CacheImage(url=url, path=begun.install_path, format=image.format, sha256=image.sha256)
        try:
            found = await self._agents.call(host, command, timeout_seconds=_DOWNLOAD_SECONDS)
        except CairnError as error:
            if error.kind not in _NO_WORD:
                await self._store.write(partial(self._delete, begun))
            raise
        row = replace(begun, format=found.format, size=found.virtual_size_bytes, actual_size=found.actual_size_bytes)

        def fn(tx: Tx) -> None:
            values = {"format": row.format, "size": row.size, "actual_size": row.actual_size}
            if not tx.update_where(ImageCache, {"uuid": row.uuid}, **values):
                tx.insert(row)  # it was dropped meanwhile, yet the file is there
            self._space.book(tx, storage.uuid, host, row.actual_size - begun.actual_size)

        await self._store.write(fn)
        return row

    def _begin(self, tx: Tx, storage: PrimaryStorage, host: HostId, image: ImageSpec) -> ImageCache:
        row = _row(tx, storage.uuid, host, image)
        if row is not None:
            return row
        row = ImageCache(
            uuid=self._ids.new(),
            primary_storage_uuid=storage.uuid,
            host_uuid=host,
            image_uuid=image.uuid,
            install_path=f"{storage.mount_path}/imagecache/template/{image.uuid}/{image.uuid}.{image.format}",
            format=image.format,
            size=0,
            actual_size=0,
            create_date=tx.now,
        )
        tx.insert(row)
        return row


def _row(tx: Tx, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> ImageCache | None:
    rows = tx.find(ImageCache, primary_storage_uuid=storage, host_uuid=host, image_uuid=image.uuid)
    return rows[0] if rows else None


def _give_up(uuid: str, tx: Tx) -> None:
    tx.update(ImageCache, uuid, given_up=True)


def _left_over(cache: ImageCache) -> CairnError:
    return CairnError(
        "primary-storage.cache-left",
        "The host still has a file of an image with this uuid that was expunged, and it could not be removed. Try again; "
        "another image, or another host, would do.",
        kind=ErrorKind.UNAVAILABLE,
        operator=f"The file is {cache.install_path} on the host {cache.host_uuid}.",
    )
