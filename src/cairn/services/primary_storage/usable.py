"""The primary storage that the hosts of a cluster can use now."""

from __future__ import annotations

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.remembered import Remembered
from cairn.kernel.store.store import Tx
from cairn.services.ids import ClusterId
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef, PrimaryStorageStatus


class UsableStorage:
    """Looks usable storage up. Every new VM asks, so answers are remembered while nothing changes."""

    def __init__(self) -> None:
        self._kept = Remembered(_usable, (PrimaryStorage, PrimaryStorageClusterRef))

    def of(self, tx: Tx, cluster: ClusterId, required: str | None) -> list[PrimaryStorage]:
        """Enabled and connected storage that is attached to a cluster; only `required` if one is asked for."""
        return [row for row in self._kept.get(tx, cluster) if required in (None, row.uuid)]


def _usable(tx: Tx, cluster: ClusterId) -> list[PrimaryStorage]:
    refs = tx.find(PrimaryStorageClusterRef, cluster_uuid=cluster)
    rows = tx.find(PrimaryStorage, uuid=[ref.primary_storage_uuid for ref in refs])
    return [row for row in rows if _is_usable(row)]


def usable_anywhere(tx: Tx, required: str | None) -> list[PrimaryStorage]:
    """Enabled and connected storage, attached wherever; only `required` if one is asked for. There are few in a cloud."""
    rows = tx.find(PrimaryStorage) if required is None else tx.find(PrimaryStorage, uuid=required)
    return [row for row in rows if _is_usable(row)]


def _is_usable(row: PrimaryStorage) -> bool:
    return row.state is EnabledState.ENABLED and row.status is PrimaryStorageStatus.CONNECTED
