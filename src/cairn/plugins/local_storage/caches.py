"""Images that are cached on hosts' disks, so that volumes there can be based on them.

A cache is a row and a file, which is named by the row's uuid, so that no two files ever have one path. The row comes first,
with a size of 0, so that a file which a lost host may have is known, and is removed with the image; it gets its size once the
file is complete, and that is booked on the disk. Complete caches are remembered in memory, because every new VM asks for one.

When its image goes, a cache is given up: no new volume is based on it, and it goes as soon as none is. Which volumes are based
on it is said by their places (`LocalStorageVolume`), from their claim to their release, so also those that are still being
made. `Leftovers` sees to it.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from cairn.agents.protocol import storage as agent
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.invalidation import Keys
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.leftovers import CacheKey, Leftovers, queue_of
from cairn.plugins.local_storage.space import DiskSpace
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId, ImageId, PrimaryStorageId
from cairn.services.image.messages import ImageSpec
from cairn.services.image.provided import ImageSources
from cairn.services.primary_storage.extensions import CachedImage
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage

_DOWNLOAD_SECONDS = 1800.0
#: errors that leave it open whether the host did it
_NO_WORD = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT})


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
        leftovers: Leftovers,
    ) -> None:
        self._store = store
        self._sources = sources
        self._space = space
        self._ids = ids
        self._queues = queues
        self._agents = agents
        self._leftovers = leftovers
        self._complete: dict[CacheKey, CachedImage] = {}
        leftovers.tell_removed(lambda key: self._complete.pop(key, None))

    async def get(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        """Have the image on the host; many callers at once cause one download."""
        key = (storage, host, image.uuid)
        known = self._complete.get(key)
        if known is not None:
            return known

        async def work() -> CachedImage:
            return self._complete.get(key) or await self._fetch(storage, host, image)

        return await self._queues.run(queue_of(key), work, name="fetch image")

    async def drop(self, storage: PrimaryStorageId, image: ImageId) -> None:
        """Give the image's caches up; each goes as soon as no volume is based on it. Safe to repeat."""

        def fn(tx: Tx) -> list[ImageCache]:
            tx.update_where(ImageCache, {"primary_storage_uuid": storage, "image_uuid": image}, given_up=True)
            return tx.find(ImageCache, primary_storage_uuid=storage, image_uuid=image)

        for cache in await self._store.write(fn):
            key = (storage, cache.host_uuid or HostId(""), image)
            self._complete.pop(key, None)
            self._leftovers.look_at(key)

    def changed(self, keys: Keys) -> None:
        """Another node has given caches up, or removed them: look again before one is used."""
        self._complete.clear()

    async def forget(self, host: HostId, path: str) -> None:
        """The file is not there any more: it is fetched again when it is needed."""

        def fn(tx: Tx) -> None:
            for cache in tx.find(ImageCache, host_uuid=host, install_path=path):
                self._leftovers.delete(cache, tx)

        await self._store.write(fn)

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host leaves the cloud, and its caches with it; files that are still there are owed. Safe to repeat."""
        for cache in self._leftovers.host_removed(tx, host):
            key = (cache.primary_storage_uuid, host, cache.image_uuid)
            tx.after_commit(partial(self._complete.pop, key, None))

    async def clear(self, storage: PrimaryStorageId) -> None:
        """The storage leaves the cloud, and its caches with it; files that cannot be removed now are owed. Safe to repeat."""
        await self._leftovers.clear(storage)

    async def _fetch(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        def fn(tx: Tx) -> tuple[ImageCache | None, PrimaryStorage | None]:
            return _row(tx, storage, host, image), tx.get(PrimaryStorage, storage)

        row, home = await self._store.read(fn)
        if row is not None and row.given_up:
            self._leftovers.look_at((storage, host, image.uuid))
            raise _left_over(row)
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
                await self._store.write(partial(self._leftovers.delete, begun))
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
        uuid = self._ids.new()
        row = ImageCache(
            uuid=uuid,
            primary_storage_uuid=storage.uuid,
            host_uuid=host,
            image_uuid=image.uuid,
            install_path=f"{storage.mount_path}/imagecache/template/{image.uuid}/{uuid}.{image.format}",
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


def _left_over(cache: ImageCache) -> CairnError:
    return CairnError(
        "primary-storage.cache-left",
        "The host still has the cache of an image with this uuid that was expunged; it goes when no disk is based on it. Try "
        "again then; another image, or another host, would do.",
        kind=ErrorKind.UNAVAILABLE,
        operator=f"The file is {cache.install_path} on the host {cache.host_uuid}.",
    )
