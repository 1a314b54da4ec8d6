"""Backup storage as a kind of machine."""

from __future__ import annotations

from datetime import datetime

from cairn.agents.protocol.storage import GetCapacity
from cairn.agents.protocol.wire import Pong
from cairn.kernel.event import Events
from cairn.kernel.machine.agents import MachineAgents
from cairn.kernel.machine.kind import MachineKind
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import EnabledState
from cairn.kernel.store.store import Store, Tx
from cairn.services.backup_storage import config
from cairn.services.backup_storage.extensions import BackupStorageContent, BackupStorageDriver
from cairn.services.backup_storage.messages import BackupStorageStatusChanged, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.ids import BackupStorageId


class BackupStorageKind(MachineKind[BackupStorage]):
    """Backup storage as a kind of machine: things are kept on it, and its capacity follows them."""

    record = BackupStorage
    settings = config.MACHINE
    closed = EnabledState.DISABLED
    enforceable = True
    serves_machines = True
    remedy = "Delete and expunge them first, or have them removed with deleteMode=Enforcing."

    def __init__(self, events: Events, extensions: Extensions, store: Store) -> None:
        super().__init__(events)
        self._extensions = extensions
        self._store = store

    def driver(self, row: BackupStorage) -> BackupStorageDriver:
        """The driver of the backup storage's type."""
        return self._extensions.named(BackupStorageDriver, row.type)

    def status_changed(
        self, row: BackupStorage, status: MachineStatus, reason: str | None
    ) -> BackupStorageStatusChanged:
        """The event for a changed status; see `MachineKind.status_changed`."""
        return BackupStorageStatusChanged(
            backup_storage=row.uuid, name=row.name, before=row.status, status=status, reason=reason
        )

    def reconnecting(self, uuid: str) -> ReconnectBackupStorage:
        """The call that connects it again; see `MachineKind.reconnecting`."""
        return ReconnectBackupStorage(uuid=uuid)

    async def pinged(self, agents: MachineAgents[str], row: BackupStorage, pong: Pong, asked_at: datetime) -> None:
        """Write down how full it is, if that has changed; an agent that does not say so with its pings is asked."""
        capacity = pong.folders.get(row.url) or await agents.call(row.uuid, GetCapacity(path=row.url))
        total, available = capacity.total_bytes, capacity.available_bytes
        if (total, available) != (row.total_capacity, row.available_capacity):
            await self._store.write(
                lambda tx: tx.update(BackupStorage, row.uuid, total_capacity=total, available_capacity=available)
            )

    def why_not_remove(self, tx: Tx, uuid: str) -> list[str]:
        """Ask each plugin that keeps things there."""
        reasons = (
            keeper.why_not_remove(tx, BackupStorageId(uuid)) for keeper in self._extensions.of(BackupStorageContent)
        )
        return [reason for reason in reasons if reason is not None]
