"""Images that are cached on hosts' disks, so that volumes there can be based on them.

A cache is a row and a file. The row comes first, with a size of 0, so that a file which a lost host may have is known, and
is removed with the image; it gets its size once the file is complete. Complete caches are remembered in memory, because
every new VM asks for one.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace
from sqlalchemy import bindparam, select

from cairn.agents.protocol import storage as agent
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.model import LocalStorageVolume
from cairn.services.host.provided import HostAgents
from cairn.services.ids import HostId, ImageId, PrimaryStorageId
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import CachedImage
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage
from cairn.services.volume.model import Volume

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

    def __init__(self, store: Store, ids: IdSource, queues: ResourceQueues, agents: HostAgents) -> None:
        self._store = store
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

        return await self._queues.run(f"image-cache:{storage}-{host}-{image.uuid}", work, name="fetch image")

    async def drop(self, storage: PrimaryStorageId, image: ImageId) -> None:
        """Remove the image's caches from hosts where no volume is based on it. Safe to repeat."""

        def fn(tx: Tx) -> list[ImageCache]:
            used = {str(host) for (host,) in tx.rows(_USED, {"storage": storage, "image": image})}
            caches = tx.find(ImageCache, primary_storage_uuid=storage, image_uuid=image)
            return [cache for cache in caches if cache.host_uuid not in used]

        for cache in await self._store.read(fn):
            host = cache.host_uuid or HostId("")
            self._complete.pop((storage, host, image), None)
            await self._agents.call(host, agent.DeleteFile(path=cache.install_path))
            await self._store.write(partial(_delete, cache.uuid))

    async def forget(self, host: HostId, path: str) -> None:
        """The file is not there any more: it is fetched again when it is needed."""
        self._complete = {key: one for key, one in self._complete.items() if (key[1], one.path) != (host, path)}
        await self._store.write(lambda tx: tx.delete_where(ImageCache, host_uuid=host, install_path=path))

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host leaves the cloud, and its caches with it. Safe to repeat."""
        tx.delete_where(ImageCache, host_uuid=host)
        tx.after_commit(self._complete.clear)

    async def _fetch(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        def fn(tx: Tx) -> tuple[ImageCache | None, PrimaryStorage | None]:
            return _row(tx, storage, host, image), tx.get(PrimaryStorage, storage)

        row, home = await self._store.read(fn)
        if row is None or not row.actual_size:
            assert home is not None
            row = await self._download(home, host, image)
        cached = self._complete[(storage, host, image.uuid)] = CachedImage(path=row.install_path, format=row.format)
        return cached

    async def _download(self, storage: PrimaryStorage, host: HostId, image: ImageSpec) -> ImageCache:
        begun = await self._store.write(lambda tx: self._begin(tx, storage, host, image))
        command = agent.CacheImage(url=image.url, path=begun.install_path, format=image.format, sha256=image.sha256)
        try:
            found = await self._agents.call(host, command, timeout_seconds=_DOWNLOAD_SECONDS)
        except CairnError as error:
            if error.kind not in _NO_WORD:
                await self._store.write(partial(_delete, begun.uuid))
            raise
        row = replace(begun, format=found.format, size=found.virtual_size_bytes, actual_size=found.actual_size_bytes)

        def fn(tx: Tx) -> None:
            values = {"format": row.format, "size": row.size, "actual_size": row.actual_size}
            if not tx.update_where(ImageCache, {"uuid": row.uuid}, **values):
                tx.insert(row)  # it was dropped meanwhile, yet the file is there

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


def _delete(uuid: str, tx: Tx) -> None:
    tx.delete(ImageCache, uuid)
