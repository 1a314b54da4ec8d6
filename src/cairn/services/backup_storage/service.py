"""The backup storage service: answers the API's calls about backup storage."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.workflow import workflow
from cairn.kernel.ids import IdSource
from cairn.kernel.jobs import Jobs
from cairn.kernel.machine.client import MachineClient
from cairn.kernel.resource import changed, existing, gone, state_changed
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.messages import (
    AttachBackupStorageToZone,
    ChangeBackupStorageState,
    DeleteBackupStorage,
    DetachBackupStorageFromZone,
    ReconnectBackupStorage,
    UpdateBackupStorage,
)
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef
from cairn.services.zone.model import Zone

RECONNECT = workflow(ReconnectBackupStorage)
DELETE = workflow(DeleteBackupStorage, unless=gone(BackupStorage))


class BackupStorageService:
    """Answers the messages about backup storage."""

    def __init__(self, jobs: Jobs, ids: IdSource, agents: MachineClient) -> None:
        self._jobs = jobs
        self._ids = ids
        self._agents = agents

    @handles(UpdateBackupStorage)
    async def update(self, message: UpdateBackupStorage) -> Reference:
        """Change name or description; plugins call this behind changes of their own, of the address as well."""
        answer = await self._jobs.commit(lambda tx: changed(tx, BackupStorage, message))
        self._agents.forget(message.uuid)
        return answer

    @handles(ChangeBackupStorageState)
    async def change_state(self, message: ChangeBackupStorageState) -> Reference:
        """Enable or disable a backup storage."""
        return await self._jobs.commit(lambda tx: state_changed(tx, BackupStorage, message))

    @handles(AttachBackupStorageToZone)
    async def attach(self, message: AttachBackupStorageToZone) -> Reference:
        """Let the hosts of a zone use a backup storage."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, BackupStorage, message.backup_storage_uuid, "backupStorageUuid")
            zone = existing(tx, Zone, message.zone_uuid, "zoneUuid")
            if tx.count(BackupStorageZoneRef, backup_storage_uuid=row.uuid, zone_uuid=zone.uuid):
                raise CairnError(
                    "backup-storage.attached-already",
                    f"The backup storage {row.name} is attached to this zone already.",
                    kind=ErrorKind.CONFLICT,
                )
            tx.insert(BackupStorageZoneRef(uuid=self._ids.new(), backup_storage_uuid=row.uuid, zone_uuid=zone.uuid))
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    @handles(DetachBackupStorageFromZone)
    async def detach(self, message: DetachBackupStorageFromZone) -> Reference:
        """Take a backup storage from a zone; one that is not attached is success."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, BackupStorage, message.backup_storage_uuid, "backupStorageUuid")
            tx.delete_where(BackupStorageZoneRef, backup_storage_uuid=row.uuid, zone_uuid=message.zone_uuid)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)
