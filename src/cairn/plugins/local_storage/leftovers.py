"""Caches that nobody needs any more: their images are gone, and no volume is based on them.

They come about when an image is expunged, and when the last volume of an expunged image goes. Both say so, and they are removed
at once; what that misses (a lost host, a node that was killed) is found by looking through all caches from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Select, and_, bindparam, or_, select

from cairn.agents.protocol.storage import DeleteFile
from cairn.kernel.error import CairnError
from cairn.kernel.queue import ResourceQueues, queue_key
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.model import LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace, held
from cairn.services.host.provided import FILE_DEBT, HostAgents, HostDebts, is_out_of_reach
from cairn.services.ids import HostId, ImageId, PrimaryStorageId
from cairn.services.image.model import Image
from cairn.services.primary_storage.model import ImageCache

_log = structlog.get_logger("cairn.local-storage")
ROUND_SECONDS = 3600.0
_BITE = 1000  #: caches in one look
_PARALLELISM = 20  #: hosts at a time

#: a cache: of a storage, on a host, of an image
CacheKey = tuple[PrimaryStorageId, HostId, ImageId]

_cache, _image, _place = table_of(ImageCache), table_of(Image), table_of(LocalStorageVolume)
_IS_GONE = ~select(_image.c.uuid).where(_image.c.uuid == _cache.c.image_uuid).exists()
_IS_USED = (
    select(_place.c.resource_uuid)
    .where(
        _place.c.primary_storage_uuid == _cache.c.primary_storage_uuid,
        _place.c.host_uuid == _cache.c.host_uuid,
        or_(_place.c.image_uuid == _cache.c.image_uuid, _place.c.image_uuid.is_(None)),
    )
    .exists()
)
_IS_UNUSED = and_(or_(_cache.c.given_up, _IS_GONE), ~_IS_USED)
_UNUSED = select(_cache.c.primary_storage_uuid, _cache.c.host_uuid, _cache.c.image_uuid).where(_IS_UNUSED).limit(_BITE)
#: the next caches in the order of their keys, and which of them are unused
_NEXT = (
    select(_cache.c.uuid, _cache.c.primary_storage_uuid, _cache.c.host_uuid, _cache.c.image_uuid, _IS_UNUSED)
    .where(_cache.c.uuid > bindparam("behind"))
    .order_by(_cache.c.uuid)
    .limit(bindparam("most"))
)
_THIS = _UNUSED.where(
    _cache.c.primary_storage_uuid == bindparam("storage"),
    _cache.c.host_uuid == bindparam("host"),
    _cache.c.image_uuid == bindparam("image"),
)
_OF_HOST = _UNUSED.where(_cache.c.host_uuid == bindparam("host"))


class Leftovers:
    """Finds caches that nobody needs, and removes them."""

    def __init__(
        self, store: Store, queues: ResourceQueues, agents: HostAgents, debts: HostDebts, space: DiskSpace
    ) -> None:
        self._store = store
        self._queues = queues
        self._agents = agents
        self._debts = debts
        self._space = space
        self._touched: set[CacheKey] = set()
        self._told: Callable[[], None] = _nobody
        self._removed: Callable[[CacheKey], object] = _nobody_either

    def listen(self, told: Callable[[], None]) -> None:
        """Call `told` whenever there is something to look at."""
        self._told = told

    def tell_removed(self, removed: Callable[[CacheKey], object]) -> None:
        """Call `removed` for each cache whose row is gone."""
        self._removed = removed

    def look_at(self, key: CacheKey) -> None:
        """See soon whether a cache is needed any more."""
        self._touched.add(key)
        self._told()

    async def look(self) -> None:
        """Remove those of the caches that were spoken of which nobody needs. Costs nothing where none was."""
        touched, self._touched = self._touched, set()
        await self._remove_all(touched)

    async def sweep(self) -> None:
        """Look through all caches, a bite at a time. Safe to repeat."""
        behind: str | None = ""
        while behind is not None:
            unused, behind = await self._store.read(partial(_bite, behind))
            await self._remove_all(unused)

    async def _remove_all(self, keys: Iterable[CacheKey]) -> None:
        """A host that hangs holds up its own caches only."""
        by_host: dict[HostId, list[CacheKey]] = {}
        for key in keys:
            by_host.setdefault(key[1], []).append(key)
        await _some_at_a_time([partial(self._remove_each, found) for found in by_host.values()])

    async def collect(self, host: HostId) -> None:
        """Remove those of a host that has returned. Safe to repeat."""
        await self._remove_each(await self._store.read(lambda tx: _keys(tx, _OF_HOST, host=host)))

    async def leave(self, host: HostId) -> list[str]:
        """The host is about to leave the cloud: remove its caches. Returns the files that are left. Safe to repeat."""
        await self._remove_files(await self._store.read(lambda tx: tx.find(ImageCache, host_uuid=host)))
        left = await self._store.read(lambda tx: tx.find(ImageCache, host_uuid=host))
        return [cache.install_path for cache in left]

    def host_removed(self, tx: Tx, host: HostId) -> list[ImageCache]:
        """The host leaves the cloud: what is still there of its caches is owed if its machine is added again. Safe to repeat.

        Returns the caches that were forgotten.
        """
        caches = tx.find(ImageCache, host_uuid=host)
        for cache in caches:
            self._debts.owe(tx, host, FILE_DEBT, cache.install_path, "The host was removed from the cloud.")
            tx.delete(ImageCache, cache.uuid)
        return caches

    async def clear(self, storage: PrimaryStorageId) -> None:
        """Remove all caches of a storage that leaves the cloud; files that cannot be removed now are owed. Safe to repeat."""
        caches = await self._store.read(lambda tx: tx.find(ImageCache, primary_storage_uuid=storage))
        by_host: dict[HostId | None, list[ImageCache]] = {}
        for cache in caches:
            by_host.setdefault(cache.host_uuid, []).append(cache)
        await _some_at_a_time([partial(self._clear_host, found) for found in by_host.values()])

    def delete(self, cache: ImageCache, tx: Tx) -> None:
        """Forget a cache, and give its space back; one that is gone is left alone."""
        row = tx.get(ImageCache, cache.uuid, lock=True)
        if row is not None:
            key = (row.primary_storage_uuid, row.host_uuid or HostId(""), row.image_uuid)
            tx.delete(ImageCache, row.uuid)
            self._space.book(tx, key[0], key[1], -row.actual_size)
            tx.after_commit(lambda: self._removed(key))

    async def _remove_each(self, keys: Iterable[CacheKey]) -> None:
        """Remove those of one host that nobody needs, each in its turn: it is not being fetched meanwhile."""
        for key in keys:
            error = await self._queues.run(queue_of(key), partial(self._remove, key), name="remove an image's cache")
            if error is not None and is_out_of_reach(error):
                break

    async def _remove(self, key: CacheKey) -> CairnError | None:
        if not await self._store.read(lambda tx: _keys(tx, _THIS, **_named(key))):
            return None
        return await self._remove_files(await self._store.write(partial(_give_up, key)))

    async def _remove_files(self, caches: list[ImageCache]) -> CairnError | None:
        """Remove files of one host, and their rows. The first error, if there was one; one that is out of reach ends it."""
        first: CairnError | None = None
        for cache in caches:
            try:
                await self._agents.call(cache.host_uuid or HostId(""), DeleteFile(path=cache.install_path))
            except CairnError as error:
                _log.warning("image-cache.left", host=cache.host_uuid, path=cache.install_path, error=str(error))
                first = first or error
                if is_out_of_reach(error):
                    break
            else:
                await self._store.write(partial(self.delete, cache))
        return first

    async def _clear_host(self, caches: list[ImageCache]) -> None:
        error = await self._remove_files(caches)
        if error is None:
            return

        def fn(tx: Tx) -> None:
            for cache in tx.find(ImageCache, uuid=[cache.uuid for cache in caches]):
                self._debts.owe(tx, cache.host_uuid or HostId(""), FILE_DEBT, cache.install_path, error)
                self.delete(cache, tx)

        await self._store.write(fn)


def queue_of(key: CacheKey) -> str:
    """The queue in which a cache is fetched and removed."""
    storage, host, image = key
    return queue_key("image-cache", f"{storage}-{host}-{image}")


def _nobody() -> None:
    """Nobody listens yet."""


def _nobody_either(key: CacheKey) -> None:
    """Nobody remembers caches."""


def _named(key: CacheKey) -> dict[str, str]:
    storage, host, image = key
    return {"storage": storage, "host": host, "image": image}


def _keys(tx: Tx, query: Select[Any], **given: str) -> list[CacheKey]:
    return [_key(*row) for row in tx.rows(query, given)]


def _key(storage: object, host: object, image: object) -> CacheKey:
    return PrimaryStorageId(str(storage)), HostId(str(host)), ImageId(str(image))


def _bite(behind: str, tx: Tx) -> tuple[list[CacheKey], str | None]:
    """Those that are unused of the caches behind a key, and the key to go on behind; None: these were the last."""
    rows = tx.rows(_NEXT, {"behind": behind, "most": _BITE})
    unused = [_key(*row[1:4]) for row in rows if row[4]]
    return unused, str(rows[-1][0]) if len(rows) == _BITE else None


def _give_up(key: CacheKey, tx: Tx) -> list[ImageCache]:
    """The cache, from now on without new users; nothing, if it has one by now. No disk is given a place there meanwhile."""
    held(tx, key[1])
    if not _keys(tx, _THIS, **_named(key)):
        return []
    storage, host, image = key
    found = tx.find(ImageCache, primary_storage_uuid=storage, host_uuid=host, image_uuid=image)
    for cache in found:
        tx.update(ImageCache, cache.uuid, given_up=True)
    return found


async def _some_at_a_time(works: list[Callable[[], Awaitable[object]]]) -> None:
    gate = asyncio.Semaphore(_PARALLELISM)

    async def one(work: Callable[[], Awaitable[object]]) -> None:
        async with gate:
            await work()

    await asyncio.gather(*(one(work) for work in works))
