"""The filter for hosts that have a place for a VM's root volume."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import ANYWHERE, Candidate, HostFilter, HostNeed, Places
from cairn.services.ids import HostId, PrimaryStorageId, VolumeId
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.primary_storage.usable import UsableStorage


class StorageFilter(HostFilter):
    """Refuses hosts without a place for a new root volume, or without the one that the VM already has."""

    def __init__(self, usable: UsableStorage, extensions: Extensions) -> None:
        self._usable = usable
        self._extensions = extensions

    def refuse(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        """A VM that has its disk already brings its volume and that volume's storage; a new one wants space."""
        if need.root_volume_uuid is not None:
            return self._refuse_without(tx, need.root_volume_uuid, need.primary_storage_uuid, candidates)
        reasons = {candidate.host_uuid: self._refuse_new(tx, candidate, need) for candidate in candidates}
        return {host: reason for host, reason in reasons.items() if reason is not None}

    def narrow(self, tx: Tx, need: HostNeed) -> Places:
        """The host whose disk the volume is on, and the clusters to which the storage that was asked for is attached."""
        row = tx.get(PrimaryStorage, need.primary_storage_uuid) if need.primary_storage_uuid is not None else None
        if row is None:
            return ANYWHERE
        home = None
        if need.root_volume_uuid is not None:
            driver = self._extensions.named(PrimaryStorageDriver, row.type)
            home = driver.host_of(tx, need.root_volume_uuid)
        refs = tx.find(PrimaryStorageClusterRef, primary_storage_uuid=row.uuid)
        clusters = frozenset(ref.cluster_uuid for ref in refs)
        return Places(hosts=None if home is None else frozenset((home,)), clusters=clusters)

    def _refuse_without(
        self, tx: Tx, volume: VolumeId, storage: PrimaryStorageId | None, candidates: Sequence[Candidate]
    ) -> dict[HostId, str]:
        row = tx.get(PrimaryStorage, storage) if storage is not None else None
        if row is None:
            return {candidate.host_uuid: "cannot be asked for a disk that is gone" for candidate in candidates}
        return self._extensions.named(PrimaryStorageDriver, row.type).refuse(tx, row.uuid, candidates, 0, volume)

    def _refuse_new(self, tx: Tx, candidate: Candidate, need: HostNeed) -> str | None:
        reason = "has no enabled primary storage attached to its cluster"
        for storage in self._usable.of(tx, candidate.cluster_uuid, need.primary_storage_uuid):
            driver = self._extensions.named(PrimaryStorageDriver, storage.type)
            refused = driver.refuse(tx, storage.uuid, [candidate], need.disk_bytes, None)
            if not refused:
                return None
            reason = refused[candidate.host_uuid]
        return reason
