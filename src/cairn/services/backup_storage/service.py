"""The backup storage service."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from cairn.kernel.api import DeleteMode, Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.flow.step import Nothing
from cairn.kernel.flow.workflow import Workflow
from cairn.kernel.ids import IdSource
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Tx
from cairn.services.backup_storage.extensions import connect_queue
from cairn.services.backup_storage.messages import (
    AttachBackupStorageToZone,
    BackupStorageStateEvent,
    ChangeBackupStorageState,
    DeleteBackupStorage,
    DetachBackupStorageFromZone,
    ReconnectBackupStorage,
    UpdateBackupStorage,
)
from cairn.services.backup_storage.model import BackupStorage, BackupStorageState, BackupStorageZoneRef


class ReconnectParameters(Struct, frozen=True, kw_only=True):
    """Which backup storage."""

    backup_storage_uuid: str


class DeleteParameters(Struct, frozen=True, kw_only=True):
    """Which backup storage, and how."""

    backup_storage_uuid: str
    delete_mode: DeleteMode


class BackupStorageAnswer(Struct, frozen=True, kw_only=True):
    """Which backup storage it was."""

    backup_storage_uuid: str


RECONNECT = Workflow(
    name="backup-storage.reconnect",
    parameters=ReconnectParameters,
    answer=BackupStorageAnswer,
    doc="Puts the agent on a backup storage right and connects to it.",
)
DELETE = Workflow(
    name="backup-storage.delete",
    parameters=DeleteParameters,
    answer=Nothing,
    doc="Takes a backup storage out of the cloud.",
)


class BackupStorageService:
    """Answers the messages about backup storage."""

    def __init__(self, bus: Bus, jobs: Jobs, flows: Callable[[], FlowEngine], ids: IdSource) -> None:
        self._jobs = jobs
        self._flows = flows
        self._ids = ids
        bus.register(UpdateBackupStorage, self.update)
        bus.register(ChangeBackupStorageState, self.change_state)
        bus.register(AttachBackupStorageToZone, self.attach)
        bus.register(DetachBackupStorageFromZone, self.detach)
        bus.register(ReconnectBackupStorage, self.reconnect)
        bus.register(DeleteBackupStorage, self.delete)

    async def update(self, message: UpdateBackupStorage) -> Reference:
        """Change name or description."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.uuid)
            tx.update(
                BackupStorage,
                row.uuid,
                name=message.name or row.name,
                description=row.description if message.description is None else message.description,
                last_op_date=tx.now,
            )
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def change_state(self, message: ChangeBackupStorageState) -> Reference:
        """Enable or disable."""
        enabled = message.state_event is BackupStorageStateEvent.ENABLE
        state = BackupStorageState.ENABLED if enabled else BackupStorageState.DISABLED

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.uuid)
            tx.update(BackupStorage, row.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def attach(self, message: AttachBackupStorageToZone) -> Reference:
        """Let a zone use it."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.backup_storage_uuid)
            if tx.count(BackupStorageZoneRef, backup_storage_uuid=row.uuid, zone_uuid=message.zone_uuid):
                raise CairnError(
                    "backup-storage.attached-already",
                    f"The backup storage {row.name} is attached to this zone already.",
                    kind=ErrorKind.CONFLICT,
                )
            tx.insert(
                BackupStorageZoneRef(uuid=self._ids.new(), backup_storage_uuid=row.uuid, zone_uuid=message.zone_uuid)
            )
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def detach(self, message: DetachBackupStorageFromZone) -> Reference:
        """Take it from a zone."""

        def fn(tx: Tx) -> Reference:
            row = existing(tx, message.backup_storage_uuid)
            tx.delete_where(BackupStorageZoneRef, backup_storage_uuid=row.uuid, zone_uuid=message.zone_uuid)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    async def reconnect(self, message: ReconnectBackupStorage) -> Reference:
        """Connect again."""
        parameters = ReconnectParameters(backup_storage_uuid=message.uuid)
        answer = await self._flows().run(RECONNECT, parameters, queue=connect_queue(message.uuid))
        return Reference(uuid=answer.backup_storage_uuid)

    async def delete(self, message: DeleteBackupStorage) -> None:
        """Take it out; one that is gone is success."""

        def gone(tx: Tx) -> Nothing | None:
            return None if tx.get(BackupStorage, message.uuid) else Nothing()

        parameters = DeleteParameters(backup_storage_uuid=message.uuid, delete_mode=message.delete_mode)
        await self._flows().run(DELETE, parameters, queue=connect_queue(message.uuid), unless=gone)


def existing(tx: Tx, uuid: str) -> BackupStorage:
    """The backup storage (``backup-storage.not-found``)."""
    row = tx.get(BackupStorage, uuid)
    if row is None:
        raise not_found("backup-storage", "uuid", uuid)
    return row
