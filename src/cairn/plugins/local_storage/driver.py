"""Local storage as a kind of primary storage: files in a folder of each host.

A volume is a qcow2 file based on the image's file, which is cached once on each host (`HostCaches`). Space is booked by
virtual size (`DiskSpace`), and measured at each ping; which host a volume is on is a row of its own, and binds its VM to that
host.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from cairn.agents.protocol import codes
from cairn.agents.protocol import storage as agent
from cairn.agents.protocol.host import HostFacts
from cairn.agents.protocol.wire import Space
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.handlers import handles
from cairn.kernel.bus.message import Command
from cairn.kernel.error import CairnError
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.leftovers import Leftovers
from cairn.plugins.local_storage.messages import CacheImage
from cairn.plugins.local_storage.model import TYPE, LocalStorageHost, LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace, available_of
from cairn.services.host.extensions import Candidate, HostConnected, HostMeasured, HostRemoval
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents
from cairn.services.ids import ClusterId, HostId, ImageId, PrimaryStorageId, VolumeId
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import CachedImage, PrimaryStorageDriver, VolumeSpec
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.vm.messages import by_force
from cairn.services.volume.model import Volume

_place, _host = table_of(LocalStorageVolume), table_of(Host)
_share = table_of(LocalStorageHost)
_ROOMIEST = (
    select(_share.c.host_uuid)
    .where(_share.c.primary_storage_uuid == bindparam("storage"), _share.c.available_capacity >= bindparam("size"))
    .order_by(_share.c.available_capacity.desc())
    .limit(bindparam("most"))
)
_IN_CLUSTER = (
    select(func.count())
    .select_from(_place.join(_host, _host.c.uuid == _place.c.host_uuid))
    .where(_host.c.cluster_uuid == bindparam("cluster"), _place.c.primary_storage_uuid == bindparam("storage"))
)


class LocalStorageDriver(PrimaryStorageDriver, HostConnected, HostMeasured, HostRemoval):
    """Files on hosts' disks, and the space that is booked there."""

    def __init__(
        self, store: Store, bus: Bus, agents: HostAgents, caches: HostCaches, leftovers: Leftovers, space: DiskSpace
    ) -> None:
        self._store = store
        self._bus = bus
        self._agents = agents
        self._caches = caches
        self._leftovers = leftovers
        self._space = space
        #: host -> what of its folders was last written down, so that a ping without news costs no look
        self._written: dict[HostId, dict[str, Space]] = {}

    # -- inside transactions ------------------------------------------------------------------------------------------

    def refuse(
        self,
        tx: Tx,
        storage: PrimaryStorageId,
        candidates: Sequence[Candidate],
        disk_bytes: int,
        volume: VolumeId | None,
    ) -> dict[HostId, str]:
        """Refuse hosts that have not enough space for a new volume, or do not have the given one."""
        if volume is not None:
            home = self.host_of(tx, volume)
            return {
                candidate.host_uuid: "does not have the VM's disk, which is on another host's local storage"
                for candidate in candidates
                if candidate.host_uuid != home
            }
        hosts = [candidate.host_uuid for candidate in candidates]
        rows = {row.host_uuid: row for row in tx.find(LocalStorageHost, primary_storage_uuid=storage, host_uuid=hosts)}
        refused, terms = dict[HostId, str](), self._space.terms
        for host in hosts:
            row = rows.get(host)
            if row is None:
                refused[host] = "has its local storage not prepared yet"
            elif (free := available_of(row, terms)) < disk_bytes:
                refused[host] = f"has {free >> 20} MiB of local storage free, and the disk needs {_mib(disk_bytes)} MiB"
        return refused

    def few_with_room(self, tx: Tx, storage: PrimaryStorageId, disk_bytes: int, most: int) -> frozenset[HostId] | None:
        """Those with the most space, by an index."""
        rows = tx.rows(_ROOMIEST, {"storage": storage, "size": disk_bytes, "most": most + 1})
        return frozenset(HostId(str(host)) for (host,) in rows) if len(rows) <= most else None

    def claim(
        self, tx: Tx, storage: PrimaryStorageId, host: HostId, volume: VolumeId, size_bytes: int, image: ImageId | None
    ) -> bool:
        """Book the volume's size on the host's disk, in one statement, so that no two claims take the same space."""
        if not self._space.claim(tx, storage, host, size_bytes):
            return False
        place = LocalStorageVolume(
            resource_uuid=volume, primary_storage_uuid=storage, host_uuid=host, size=size_bytes, image_uuid=image
        )
        tx.insert(place)
        return True

    def release(self, tx: Tx, volume: VolumeId) -> None:
        """Give the volume's size back; a volume without a row was released before."""
        row = tx.get(LocalStorageVolume, volume)
        if row is None:
            return
        if not tx.delete(LocalStorageVolume, volume):
            return  # somebody else has just given it back
        self._space.book(tx, row.primary_storage_uuid, row.host_uuid, -row.size)
        image = row.image_uuid
        if image is not None:
            tx.after_commit(lambda: self._leftovers.look_at((row.primary_storage_uuid, row.host_uuid, image)))

    def host_of(self, tx: Tx, volume: VolumeId) -> HostId | None:
        """The host whose disk the volume is on."""
        row = tx.get(LocalStorageVolume, volume)
        return row.host_uuid if row else None

    def volume_path(self, mount_path: str, account: str, volume: VolumeId) -> str:
        """Each volume has a folder of its own, so that further files of it can lie there."""
        return f"{mount_path}/rootVolumes/acct-{account}/vol-{volume}/{volume}.qcow2"

    def detachable(self, tx: Tx, storage: PrimaryStorageId, cluster: ClusterId) -> str | None:
        """Volumes on hosts of the cluster keep the storage attached."""
        count = int(str(tx.rows(_IN_CLUSTER, {"storage": storage, "cluster": cluster})[0][0]))
        return f"{_volumes(count)} on disks of its hosts; expunge their VMs first" if count else None

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        """Volumes on a host's disk keep it in the cloud."""
        count = tx.count(LocalStorageVolume, host_uuid=host)
        return f"{_volumes(count)} on its local storage" if count else None

    def users(self, tx: Tx, host: HostId) -> list[Sequence[Command[object]]]:
        """VMs whose disks are on the host's disk go with it."""
        volumes = [row.resource_uuid for row in tx.find(LocalStorageVolume, host_uuid=host)]
        vms = {row.vm_instance_uuid for row in tx.find(Volume, uuid=volumes)}
        return [by_force(vm) for vm in sorted(vm for vm in vms if vm is not None)]

    async def host_leaving(self, host: HostId) -> list[str]:
        """Remove the host's caches; what is left is owed."""
        return await self._leftovers.leave(host)

    async def collect(self, host: HostId, path: str) -> None:
        """Remove a file that was left on a host which could not be reached. No other file ever has its path."""
        await self._agents.call(host, agent.DeleteFile(path=path))

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host's space and its caches are gone."""
        self._space.host_removed(tx, host)
        self._caches.host_removed(tx, host)
        tx.after_commit(lambda: self._written.pop(host, None))

    # -- on hosts ---------------------------------------------------------------------------------------------------------

    async def cache_image(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        """Have the image on the host's disk."""
        message = CacheImage(host=host, storage=storage, image=image)
        return await self._bus.at_owner(message, lambda: self.cache_here(message))

    @handles(CacheImage)
    async def cache_here(self, message: CacheImage) -> CachedImage:
        """An image is needed on a host that belongs to this node."""
        return await self._caches.get(PrimaryStorageId(message.storage), HostId(message.host), message.image)

    async def drop_image(self, storage: PrimaryStorageId, image: ImageId) -> None:
        """Give the image's caches up."""
        await self._caches.drop(storage, image)

    async def clear(self, storage: PrimaryStorageId) -> None:
        """Remove the storage's caches."""
        await self._caches.clear(storage)

    async def create_volume(self, volume: VolumeSpec, host: HostId, base: CachedImage | None) -> None:
        """Make the file. If the base's file was lost with the host's disk, it is forgotten, and fetched again at the next try."""
        command = agent.CreateVolume(
            path=volume.install_path,
            size_bytes=volume.size_bytes,
            backing_path=base.path if base else None,
            backing_format=base.format if base else None,
        )
        try:
            await self._agents.call(host, command)
        except CairnError as error:
            if error.code == codes.MISSING_FILE and base is not None:
                await self._caches.forget(host, base.path)
            raise

    async def delete_volume(self, volume: VolumeSpec, host: HostId | None) -> None:
        """Remove the file; a volume that is on no host has none."""
        host = host or await self._store.look(lambda tx: self.host_of(tx, volume.uuid))
        if host is not None:
            await self._agents.call(host, agent.DeleteFile(path=volume.install_path))

    async def attached(self, storage: PrimaryStorageId, cluster: ClusterId) -> None:
        """Prepare the folder on every connected host of the cluster."""
        hosts = await self._store.read(lambda tx: tx.find(Host, cluster_uuid=cluster, status=MachineStatus.CONNECTED))
        for host in hosts:
            await self._prepare([storage], host.uuid)

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Prepare the folders of all local storage of the host's cluster, and remove what was left on the host."""

        def fn(tx: Tx) -> list[PrimaryStorageId]:
            row = tx.get(Host, host)
            refs = tx.find(PrimaryStorageClusterRef, cluster_uuid=row.cluster_uuid) if row else []
            uuids = [ref.primary_storage_uuid for ref in refs]
            return [storage.uuid for storage in tx.find(PrimaryStorage, uuid=uuids, type=TYPE)] if uuids else []

        await self._prepare(await self._store.read(fn), host)
        await self._leftovers.collect(host)

    async def host_measured(self, host: HostId, folders: dict[str, Space]) -> None:
        """Write down what has changed noticeably; without news nothing is looked up."""
        written = self._written.get(host, {})
        if not any(self._space.is_news(space, written.get(path)) for path, space in folders.items()):
            return

        def fn(tx: Tx) -> None:
            uuids = [row.primary_storage_uuid for row in tx.find(LocalStorageHost, host_uuid=host)]
            homes = tx.find(PrimaryStorage, uuid=uuids) if uuids else []
            found = {home.uuid: folders[home.mount_path] for home in homes if home.mount_path in folders}
            self._space.measured(tx, host, found)

        await self._store.write(fn)
        self._written[host] = folders

    async def _prepare(self, storages: Sequence[PrimaryStorageId], host: HostId) -> None:
        """Have the folders made, and take note of all of them at once: several may be on one disk."""
        found: dict[PrimaryStorageId, Space] = {}
        for home in await self._store.read(lambda tx: tx.find(PrimaryStorage, uuid=list(storages))):
            capacity = await self._agents.call(host, agent.InitStorage(path=home.mount_path))
            found[home.uuid] = capacity
        if found:
            await self._store.write(lambda tx: self._space.measured(tx, host, found, connecting=True))
            self._written.pop(host, None)  # the next ping tells of all folders together


def _volumes(count: int) -> str:
    return "1 volume is" if count == 1 else f"{count} volumes are"


def _mib(size_bytes: int) -> int:
    """The size in MiB, rounded up."""
    return -(-size_bytes >> 20)
