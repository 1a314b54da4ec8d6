"""The filter for hosts that have a place for a VM's root volume."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import ANYWHERE, Candidate, HostFilter, HostNeed, Places
from cairn.services.ids import ClusterId, HostId, PrimaryStorageId, VolumeId
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.primary_storage.usable import UsableStorage, usable_anywhere

#: hosts of a storage that are named to look at each of them
_FEW = 60


class StorageFilter(HostFilter):
    """Refuses hosts without a place for a new root volume, or without the one that the VM already has."""

    def __init__(self, usable: UsableStorage, extensions: Extensions) -> None:
        self._usable = usable
        self._extensions = extensions

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """A VM that has its disk already brings its volume and that volume's storage; a new one wants space."""
        if need.root_volume_uuid is not None:
            return self._refuse_without(tx, need.root_volume_uuid, need.primary_storage_uuid, candidates)
        by_cluster: dict[ClusterId, list[Candidate]] = {}
        for candidate in candidates:
            by_cluster.setdefault(candidate.cluster_uuid, []).append(candidate)
        refused: dict[HostId, str] = {}
        for cluster, there in by_cluster.items():
            refused |= self._refuse_new(tx, cluster, there, need)
        return refused

    def narrow(self, tx: Tx, need: HostNeed) -> Places:
        """The host whose disk the volume is on, or those few that have room, where the storage that was asked for is attached."""
        hosts = self._with_room(tx, need) if need.root_volume_uuid is None else None
        if need.primary_storage_uuid is None:
            return Places(hosts=hosts)
        row = tx.get(PrimaryStorage, need.primary_storage_uuid)
        if row is None:
            return ANYWHERE  # `refuse` tells each host's reason
        if need.root_volume_uuid is not None:
            driver = self._extensions.named(PrimaryStorageDriver, row.type)
            home = driver.host_of(tx, need.root_volume_uuid)
            hosts = None if home is None else frozenset((home,))
        refs = tx.find(PrimaryStorageClusterRef, primary_storage_uuid=row.uuid)
        return Places(hosts=hosts, clusters=frozenset(ref.cluster_uuid for ref in refs))

    def _with_room(self, tx: Tx, need: HostNeed) -> frozenset[HostId] | None:
        """The only hosts that have room for a new volume, if all storage that may take it knows them and they are few."""
        hosts: frozenset[HostId] = frozenset()
        for storage in usable_anywhere(tx, need.primary_storage_uuid):
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            few = driver.few_with_room(tx, storage.uuid, need.disk_bytes, _FEW)
            if few is None:
                return None
            hosts |= few
        return hosts

    def _refuse_without(
        self, tx: Tx, volume: VolumeId, storage: PrimaryStorageId | None, candidates: Sequence[Candidate]
    ) -> dict[HostId, str]:
        row = tx.get(PrimaryStorage, storage) if storage is not None else None
        if row is None:
            return {candidate.host_uuid: "cannot be asked for a disk that is gone" for candidate in candidates}
        return self._extensions.named(PrimaryStorageDriver, row.type).refuse(tx, row.uuid, candidates, 0, volume)

    def _refuse_new(self, tx: Tx, cluster: ClusterId, candidates: list[Candidate], need: HostNeed) -> dict[HostId, str]:
        """Refuse hosts of a cluster for which none of its storage has space; each storage is asked once for all of them."""
        left = candidates
        reasons = {one.host_uuid: "has no enabled primary storage attached to its cluster" for one in candidates}
        for storage in self._usable.of(tx, cluster, need.primary_storage_uuid):
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            refused = driver.refuse(tx, storage.uuid, left, need.disk_bytes, None)
            left = [one for one in left if one.host_uuid in refused]
            reasons |= refused
            if not left:
                break
        return {one.host_uuid: reasons[one.host_uuid] for one in left}
