"""Local storage as a kind of primary storage: files in a folder of each host.

A volume is a qcow2 file over the image's file, which is cached once on each host. Space is booked by virtual size, in one
row a host; which host a volume is on is a row of its own, and binds its VM to that host.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace
from sqlalchemy import Update, bindparam, func, select, update

from cairn.agents.protocol import storage as agent
from cairn.agents.protocol.host import HostFacts
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.queue import ResourceQueues
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage import config
from cairn.plugins.local_storage.model import LocalStorageHost, LocalStorageVolume
from cairn.services.host.extensions import Candidate, HostAgents
from cairn.services.host.model import Host, HostStatus
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import CachedImage, VolumeSpec
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.volume.model import Volume

TYPE = "LocalStorage"
_DOWNLOAD_SECONDS = 1800.0
#: errors after which nobody knows what the host did
_NO_WORD = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT})


def _book() -> Update:
    table = table_of(LocalStorageHost)
    return (
        update(table)
        .where(
            table.c.primary_storage_uuid == bindparam("storage"),
            table.c.host_uuid == bindparam("host"),
            table.c.available_capacity >= bindparam("size"),
        )
        .values(available_capacity=table.c.available_capacity - bindparam("size"))
    )


def _give_back() -> Update:
    table = table_of(LocalStorageHost)
    return (
        update(table)
        .where(table.c.primary_storage_uuid == bindparam("storage"), table.c.host_uuid == bindparam("host"))
        .values(available_capacity=table.c.available_capacity + bindparam("size"))
    )


class LocalStorageDriver:
    """Implements `PrimaryStorageDriver`, `HostConnected` and `HostRemoval`."""

    def __init__(
        self, store: Store, ids: IdSource, queues: ResourceQueues, settings: GlobalConfig, extensions: Extensions
    ) -> None:
        self._store = store
        self._ids = ids
        self._queues = queues
        self._settings = settings
        self._extensions = extensions
        self._booking = _book()
        self._giving_back = _give_back()
        self._cached: dict[tuple[str, str, str], CachedImage] = {}

    # -- inside transactions ------------------------------------------------------------------------------------------

    def refuse(
        self, tx: Tx, storage: str, candidates: Sequence[Candidate], disk_bytes: int, volume: str | None
    ) -> dict[str, str]:
        """Hosts without the space, or without the volume."""
        if volume is not None:
            home = self.host_of(tx, volume)
            return {
                candidate.host_uuid: "does not have the VM's disk, which is on another host's local storage"
                for candidate in candidates
                if candidate.host_uuid != home
            }
        hosts = [candidate.host_uuid for candidate in candidates]
        rows = {row.host_uuid: row for row in tx.find(LocalStorageHost, primary_storage_uuid=storage, host_uuid=hosts)}
        refused: dict[str, str] = {}
        for host in hosts:
            row = rows.get(host)
            if row is None:
                refused[host] = "has its local storage not prepared yet"
            elif row.available_capacity < disk_bytes:
                refused[host] = f"has {row.available_capacity >> 20} MiB of local storage free"
        return refused

    def claim(self, tx: Tx, storage: str, host: str, volume: str, size_bytes: int) -> bool:
        """Book the volume's size on the host's disk."""
        if not tx.execute(self._booking, {"storage": storage, "host": host, "size": size_bytes}):
            return False
        tx.insert(
            LocalStorageVolume(resource_uuid=volume, primary_storage_uuid=storage, host_uuid=host, size=size_bytes)
        )
        return True

    def release(self, tx: Tx, volume: str) -> None:
        """Give the volume's size back."""
        row = tx.get(LocalStorageVolume, volume)
        if row is None:
            return
        tx.delete(LocalStorageVolume, volume)
        tx.execute(self._giving_back, {"storage": row.primary_storage_uuid, "host": row.host_uuid, "size": row.size})

    def host_of(self, tx: Tx, volume: str) -> str | None:
        """The host whose disk the volume is on."""
        row = tx.get(LocalStorageVolume, volume)
        return row.host_uuid if row else None

    def volume_path(self, mount_path: str, account: str, volume: str) -> str:
        """A folder a volume, so that what belongs to it goes with it."""
        return f"{mount_path}/rootVolumes/acct-{account}/vol-{volume}/{volume}.qcow2"

    def detachable(self, tx: Tx, storage: str, cluster: str) -> str | None:
        """Volumes on hosts of the cluster keep it there."""
        hosts = [host.uuid for host in tx.find(Host, cluster_uuid=cluster)]
        count = tx.count(LocalStorageVolume, primary_storage_uuid=storage, host_uuid=hosts) if hosts else 0
        return f"{count} volumes are on disks of its hosts; expunge their VMs first" if count else None

    def why_not_remove(self, tx: Tx, host: str) -> str | None:
        """Volumes on a host's disk keep it in the cloud."""
        count = tx.count(LocalStorageVolume, host_uuid=host)
        return f"{count} volumes are on its local storage" if count else None

    def host_removed(self, tx: Tx, host: str) -> None:
        """The host's share goes, and so do its caches."""
        storages = {row.primary_storage_uuid for row in tx.find(LocalStorageHost, host_uuid=host)}
        tx.delete_where(LocalStorageHost, host_uuid=host)
        tx.delete_where(ImageCache, host_uuid=host)
        for storage in storages:
            self._sum_up(tx, storage)
        tx.after_commit(self._cached.clear)

    # -- on hosts ---------------------------------------------------------------------------------------------------------

    async def cache_image(self, storage: str, host: str, image: ImageSpec) -> CachedImage:
        """Have the image on the host; many callers at once cause one download."""
        key = (storage, host, image.uuid)
        known = self._cached.get(key)
        if known is not None:
            return known

        async def work() -> CachedImage:
            return self._cached.get(key) or await self._fetch(storage, host, image)

        return await self._queues.run(f"image-cache:{storage}-{host}-{image.uuid}", work, name="fetch image")

    async def _fetch(self, storage: str, host: str, image: ImageSpec) -> CachedImage:
        def fn(tx: Tx) -> tuple[ImageCache | None, PrimaryStorage | None]:
            rows = tx.find(ImageCache, primary_storage_uuid=storage, host_uuid=host, image_uuid=image.uuid)
            return (rows[0] if rows else None), tx.get(PrimaryStorage, storage)

        row, home = await self._store.read(fn)
        if row is None or not row.actual_size:
            assert home is not None
            row = await self._download(home, host, image)
        cached = self._cached[(storage, host, image.uuid)] = CachedImage(path=row.install_path, format=row.format)
        return cached

    async def _download(self, storage: PrimaryStorage, host: str, image: ImageSpec) -> ImageCache:
        """Written down first, so that a file which a lost host may have goes with the image; without a size until it is there."""
        begun = await self._store.write(lambda tx: self._begin_cache(tx, storage, host, image))
        command = agent.CacheImage(url=image.url, path=begun.install_path, format=image.format, sha256=image.sha256)
        try:
            found = await self._agents().call(host, command, timeout_seconds=_DOWNLOAD_SECONDS)
        except CairnError as error:
            if error.kind not in _NO_WORD:
                await self._store.write(partial(_delete_cache, begun.uuid))
            raise
        row = replace(begun, format=found.format, size=found.virtual_size_bytes, actual_size=found.actual_size_bytes)

        def fn(tx: Tx) -> None:
            values = {"format": row.format, "size": row.size, "actual_size": row.actual_size}
            if not tx.update_where(ImageCache, {"uuid": row.uuid}, **values):
                tx.insert(row)  # it was dropped meanwhile; the file is there all the same

        await self._store.write(fn)
        return row

    def _begin_cache(self, tx: Tx, storage: PrimaryStorage, host: str, image: ImageSpec) -> ImageCache:
        there = tx.find(ImageCache, primary_storage_uuid=storage.uuid, host_uuid=host, image_uuid=image.uuid)
        if there:
            return there[0]
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

    async def drop_image(self, storage: str, image: str) -> None:
        """Remove the image's caches from hosts where no volume is based on it; unreachable hosts keep theirs."""

        def fn(tx: Tx) -> list[ImageCache]:
            used = {
                self.host_of(tx, volume.uuid)
                for volume in tx.find(Volume, primary_storage_uuid=storage, root_image_uuid=image)
            }
            caches = tx.find(ImageCache, primary_storage_uuid=storage, image_uuid=image)
            return [cache for cache in caches if cache.host_uuid not in used]

        for cache in await self._store.read(fn):
            self._cached.pop((storage, cache.host_uuid or "", image), None)
            await self._agents().call(cache.host_uuid or "", agent.DeleteFile(path=cache.install_path))
            await self._store.write(partial(_delete_cache, cache.uuid))

    async def create_volume(self, volume: VolumeSpec, host: str, base: CachedImage | None) -> None:
        """Make the overlay. A cache that was lost with the host's disk is noticed, and fetched again at the next try."""
        command = agent.CreateVolume(
            path=volume.install_path,
            size_bytes=volume.size_bytes,
            backing_path=base.path if base else None,
            backing_format=base.format if base else None,
        )
        try:
            await self._agents().call(host, command)
        except CairnError as error:
            if error.code == "agent.missing-file" and base is not None:
                await self._forget_cache(host, base.path)
            raise

    async def _forget_cache(self, host: str, path: str) -> None:
        self._cached = {key: cached for key, cached in self._cached.items() if (key[1], cached.path) != (host, path)}
        await self._store.write(lambda tx: tx.delete_where(ImageCache, host_uuid=host, install_path=path))

    async def delete_volume(self, volume: VolumeSpec, host: str | None) -> None:
        """Remove the file."""
        host = host or await self._store.look(lambda tx: self.host_of(tx, volume.uuid))
        if host is not None:
            await self._agents().call(host, agent.DeleteFile(path=volume.install_path))

    async def attached(self, storage: str, cluster: str) -> None:
        """Prepare the folder on every connected host of the cluster."""
        hosts = await self._store.read(lambda tx: tx.find(Host, cluster_uuid=cluster, status=HostStatus.CONNECTED))
        for host in hosts:
            await self._prepare(storage, host.uuid)

    async def host_connecting(self, host: str, facts: HostFacts) -> None:
        """Prepare the folders of all local storage of the host's cluster."""

        def fn(tx: Tx) -> list[str]:
            row = tx.get(Host, host)
            refs = tx.find(PrimaryStorageClusterRef, cluster_uuid=row.cluster_uuid) if row else []
            uuids = [ref.primary_storage_uuid for ref in refs]
            return [storage.uuid for storage in tx.find(PrimaryStorage, uuid=uuids, type=TYPE)] if uuids else []

        for storage in await self._store.read(fn):
            await self._prepare(storage, host)

    async def _prepare(self, storage: str, host: str) -> None:
        home = await self._store.read(lambda tx: tx.get(PrimaryStorage, storage))
        if home is None:
            return
        found = await self._agents().call(host, agent.InitStorage(path=home.mount_path))
        await self._store.write(lambda tx: self._note_capacity(tx, storage, host, found))

    def _note_capacity(self, tx: Tx, storage: str, host: str, found: agent.Capacity) -> None:
        table = table_of(LocalStorageVolume)
        query = select(func.coalesce(func.sum(table.c.size), 0)).where(
            table.c.primary_storage_uuid == bindparam("storage"), table.c.host_uuid == bindparam("host")
        )
        used = int(str(tx.rows(query, {"storage": storage, "host": host})[0][0]))
        total = int(found.total_bytes * self._settings.get(config.OVER_PROVISIONING))
        values = {
            "total_capacity": total,
            "available_capacity": total - used,
            "total_physical_capacity": found.total_bytes,
            "available_physical_capacity": found.available_bytes,
        }
        if not tx.update_where(LocalStorageHost, {"primary_storage_uuid": storage, "host_uuid": host}, **values):
            tx.insert(LocalStorageHost(uuid=self._ids.new(), primary_storage_uuid=storage, host_uuid=host, **values))
        self._sum_up(tx, storage)

    def _sum_up(self, tx: Tx, storage: str) -> None:
        """A storage's capacity is that of its hosts."""
        rows = tx.find(LocalStorageHost, primary_storage_uuid=storage)
        tx.update(
            PrimaryStorage,
            storage,
            total_capacity=sum(row.total_capacity for row in rows),
            available_capacity=sum(row.available_capacity for row in rows),
            total_physical_capacity=sum(row.total_physical_capacity for row in rows),
            available_physical_capacity=sum(row.available_physical_capacity for row in rows),
        )

    def _agents(self) -> HostAgents:
        return self._extensions.named(HostAgents, "host")


def _delete_cache(uuid: str, tx: Tx) -> None:
    tx.delete(ImageCache, uuid)
