"""Local storage as a kind of primary storage: files in a folder of each host.

A volume is a qcow2 file based on the image's file, which is cached once on each host (`HostCaches`). Space is booked by
virtual size, in one row per host; which host a volume is on is a row of its own, and binds its VM to that host.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from cairn.agents.protocol import codes
from cairn.agents.protocol import storage as agent
from cairn.agents.protocol.host import HostFacts
from cairn.kernel.bus.message import Command
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError
from cairn.kernel.ids import IdSource
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.plugins.local_storage import config
from cairn.plugins.local_storage.caches import HostCaches
from cairn.plugins.local_storage.model import TYPE, LocalStorageHost, LocalStorageVolume
from cairn.services.host.extensions import Candidate, HostConnected, HostRemoval
from cairn.services.host.model import Host
from cairn.services.host.provided import HostAgents
from cairn.services.ids import ClusterId, HostId, ImageId, PrimaryStorageId, VolumeId
from cairn.services.image.messages import ImageSpec
from cairn.services.primary_storage.extensions import CachedImage, PrimaryStorageDriver, VolumeSpec
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.vm.messages import by_force
from cairn.services.volume.model import Volume

_space, _place = table_of(LocalStorageHost), table_of(LocalStorageVolume)
_THERE = (_space.c.primary_storage_uuid == bindparam("storage"), _space.c.host_uuid == bindparam("host"))
_BOOK = (
    update(_space)
    .where(*_THERE, _space.c.available_capacity >= bindparam("size"))
    .values(available_capacity=_space.c.available_capacity - bindparam("size"))
)
_GIVE_BACK = update(_space).where(*_THERE).values(available_capacity=_space.c.available_capacity + bindparam("size"))
_BOOKED = select(func.coalesce(func.sum(_place.c.size), 0)).where(
    _place.c.primary_storage_uuid == bindparam("storage"), _place.c.host_uuid == bindparam("host")
)


class LocalStorageDriver(PrimaryStorageDriver, HostConnected, HostRemoval):
    """Files on hosts' disks, and the space that is booked there."""

    def __init__(
        self, store: Store, ids: IdSource, settings: GlobalConfig, agents: HostAgents, caches: HostCaches
    ) -> None:
        self._store = store
        self._ids = ids
        self._settings = settings
        self._agents = agents
        self._caches = caches

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
        refused: dict[HostId, str] = {}
        for host in hosts:
            row = rows.get(host)
            if row is None:
                refused[host] = "has its local storage not prepared yet"
            elif row.available_capacity < disk_bytes:
                refused[host] = f"has {row.available_capacity >> 20} MiB of local storage free"
        return refused

    def claim(self, tx: Tx, storage: PrimaryStorageId, host: HostId, volume: VolumeId, size_bytes: int) -> bool:
        """Book the volume's size on the host's disk, in one statement, so that no two claims take the same space."""
        if not tx.execute(_BOOK, {"storage": storage, "host": host, "size": size_bytes}):
            return False
        tx.insert(
            LocalStorageVolume(resource_uuid=volume, primary_storage_uuid=storage, host_uuid=host, size=size_bytes)
        )
        return True

    def release(self, tx: Tx, volume: VolumeId) -> None:
        """Give the volume's size back; a volume without a row was released before."""
        row = tx.get(LocalStorageVolume, volume)
        if row is None:
            return
        tx.delete(LocalStorageVolume, volume)
        tx.execute(_GIVE_BACK, {"storage": row.primary_storage_uuid, "host": row.host_uuid, "size": row.size})

    def host_of(self, tx: Tx, volume: VolumeId) -> HostId | None:
        """The host whose disk the volume is on."""
        row = tx.get(LocalStorageVolume, volume)
        return row.host_uuid if row else None

    def volume_path(self, mount_path: str, account: str, volume: VolumeId) -> str:
        """Each volume has a folder of its own, so that further files of it can lie there."""
        return f"{mount_path}/rootVolumes/acct-{account}/vol-{volume}/{volume}.qcow2"

    def detachable(self, tx: Tx, storage: PrimaryStorageId, cluster: ClusterId) -> str | None:
        """Volumes on hosts of the cluster keep the storage attached."""
        hosts = [host.uuid for host in tx.find(Host, cluster_uuid=cluster)]
        count = tx.count(LocalStorageVolume, primary_storage_uuid=storage, host_uuid=hosts) if hosts else 0
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

    async def collect(self, host: HostId, path: str) -> None:
        """Remove a file that was left on a host which could not be reached."""
        await self._agents.call(host, agent.DeleteFile(path=path))

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """The host's space and its caches are gone."""
        storages = {row.primary_storage_uuid for row in tx.find(LocalStorageHost, host_uuid=host)}
        tx.delete_where(LocalStorageHost, host_uuid=host)
        self._caches.host_removed(tx, host)
        for storage in storages:
            self._sum_up(tx, storage)

    # -- on hosts ---------------------------------------------------------------------------------------------------------

    async def cache_image(self, storage: PrimaryStorageId, host: HostId, image: ImageSpec) -> CachedImage:
        """Have the image on the host's disk."""
        return await self._caches.get(storage, host, image)

    async def drop_image(self, storage: PrimaryStorageId, image: ImageId) -> None:
        """Remove the image's caches; the first host that cannot be reached ends it, and trying again goes on."""
        await self._caches.drop(storage, image)

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
            await self._prepare(storage, host.uuid)

    async def host_connecting(self, host: HostId, facts: HostFacts) -> None:
        """Prepare the folders of all local storage of the host's cluster."""

        def fn(tx: Tx) -> list[PrimaryStorageId]:
            row = tx.get(Host, host)
            refs = tx.find(PrimaryStorageClusterRef, cluster_uuid=row.cluster_uuid) if row else []
            uuids = [ref.primary_storage_uuid for ref in refs]
            return [storage.uuid for storage in tx.find(PrimaryStorage, uuid=uuids, type=TYPE)] if uuids else []

        for storage in await self._store.read(fn):
            await self._prepare(storage, host)

    async def _prepare(self, storage: PrimaryStorageId, host: HostId) -> None:
        home = await self._store.read(lambda tx: tx.get(PrimaryStorage, storage))
        if home is None:
            return
        found = await self._agents.call(host, agent.InitStorage(path=home.mount_path))
        await self._store.write(lambda tx: self._note_capacity(tx, storage, host, found))

    def _note_capacity(self, tx: Tx, storage: PrimaryStorageId, host: HostId, found: agent.Capacity) -> None:
        used = int(str(tx.rows(_BOOKED, {"storage": storage, "host": host})[0][0]))
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

    def _sum_up(self, tx: Tx, storage: PrimaryStorageId) -> None:
        """A storage's capacity is the sum of its hosts' capacities."""
        rows = tx.find(LocalStorageHost, primary_storage_uuid=storage)
        tx.update(
            PrimaryStorage,
            storage,
            total_capacity=sum(row.total_capacity for row in rows),
            available_capacity=sum(row.available_capacity for row in rows),
            total_physical_capacity=sum(row.total_physical_capacity for row in rows),
            available_physical_capacity=sum(row.available_physical_capacity for row in rows),
        )


def _volumes(count: int) -> str:
    return "1 volume is" if count == 1 else f"{count} volumes are"
