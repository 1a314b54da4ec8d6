"""Adding and connecting a backup storage.

A plugin's workflow that adds a kind of its own lists ``backup-storage.record``, its own step that writes down what only
it knows, then ``backup-storage.deploy``, ``backup-storage.connect`` and ``backup-storage.finish-connect``.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cairn.agents.protocol.storage import Capacity, InitStorage
from cairn.kernel.error import not_found
from cairn.kernel.event import Events
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.resource import erase, write
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.backup_storage.directory import BackupStorageDirectory
from cairn.services.backup_storage.messages import BackupStorageStatusChanged
from cairn.services.backup_storage.model import BackupStorage, BackupStorageStatus


class RecordBackupStorageInput(Struct, frozen=True, kw_only=True):
    """A new backup storage."""

    backup_storage_uuid: str
    backup_storage_type: str
    name: str
    description: str | None
    url: str
    system_tags: list[str]
    user_tags: list[str]


class RecordBackupStorage(TransactionStep[RecordBackupStorageInput, Nothing]):
    """Write the new backup storage down, as Connecting."""

    name = "backup-storage.record"
    title = "writing the backup storage down"

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def do(self, tx: Tx, given: RecordBackupStorageInput) -> Nothing:
        """Insert."""
        write(
            tx,
            BackupStorage(
                uuid=given.backup_storage_uuid,
                name=given.name,
                url=given.url,
                description=given.description,
                type=given.backup_storage_type,
                create_date=tx.now,
                last_op_date=tx.now,
            ),
        )
        self._tags.add(tx, "BackupStorage", given.backup_storage_uuid, system=given.system_tags, user=given.user_tags)
        return NOTHING

    def undo(self, tx: Tx, given: RecordBackupStorageInput, made: Nothing | None) -> None:
        """It was never added."""
        self._tags.forget(tx, given.backup_storage_uuid)
        erase(tx, BackupStorage, given.backup_storage_uuid)


class BackupStorageInput(Struct, frozen=True, kw_only=True):
    """Which backup storage."""

    backup_storage_uuid: str


class BeginConnect(TransactionStep[BackupStorageInput, Nothing]):
    """Mark the backup storage as Connecting."""

    name = "backup-storage.begin-connect"
    title = "beginning to connect"

    def __init__(self, events: Events) -> None:
        self._events = events

    def do(self, tx: Tx, given: BackupStorageInput) -> Nothing:
        """Mark."""
        if not set_status(tx, self._events, given.backup_storage_uuid, BackupStorageStatus.CONNECTING, None):
            raise not_found("backup-storage", "uuid", given.backup_storage_uuid)
        return NOTHING

    def undo(self, tx: Tx, given: BackupStorageInput, made: Nothing | None) -> None:
        """It could not be connected."""
        set_status(tx, self._events, given.backup_storage_uuid, BackupStorageStatus.DISCONNECTED, "connecting failed")


class DeployBackupStorage(ActionStep[BackupStorageInput, Nothing]):
    """Put the agent on the backup storage."""

    name = "backup-storage.deploy"
    title = "putting the agent on the backup storage"
    nothing_to_undo: ClassVar[str | None] = (
        "an agent that no backup storage knows of does nothing; the next add uses it"
    )

    def __init__(self, directory: BackupStorageDirectory) -> None:
        self._directory = directory

    async def do(self, given: BackupStorageInput) -> Nothing:
        """Deploy by the driver of its type."""
        driver = await self._directory.driver(given.backup_storage_uuid)
        await driver.deploy(given.backup_storage_uuid)
        self._directory.forget(given.backup_storage_uuid)
        return NOTHING


class ConnectBackupStorageOutput(Struct, frozen=True, kw_only=True):
    """What it said of itself."""

    backup_storage_capacity: Capacity
    backup_storage_boot: str


class ConnectBackupStorage(ActionStep[BackupStorageInput, ConnectBackupStorageOutput]):
    """Have the agent prepare the folder that images are kept in."""

    name = "backup-storage.connect"
    title = "connecting to the backup storage"
    nothing_to_undo: ClassVar[str | None] = "an empty folder does no harm; one with images in it is to stay"

    def __init__(self, directory: BackupStorageDirectory) -> None:
        self._directory = directory

    async def do(self, given: BackupStorageInput) -> ConnectBackupStorageOutput:
        """Connect."""
        row = await self._directory.storage(given.backup_storage_uuid)
        capacity = await self._directory.connect(row.uuid, InitStorage(path=row.url))
        pong = await self._directory.ping(row.uuid, timeout_seconds=10.0)
        return ConnectBackupStorageOutput(backup_storage_capacity=capacity, backup_storage_boot=pong.boot)


class FinishConnectInput(Struct, frozen=True, kw_only=True):
    """What is known now."""

    backup_storage_uuid: str
    backup_storage_capacity: Capacity
    backup_storage_boot: str


class FinishConnect(TransactionStep[FinishConnectInput, Nothing]):
    """Write the capacity down; images may be kept there from here on."""

    name = "backup-storage.finish-connect"
    title = "writing the backup storage's capacity down"

    def __init__(self, events: Events) -> None:
        self._events = events

    def do(self, tx: Tx, given: FinishConnectInput) -> Nothing:
        """Write."""
        tx.update(
            BackupStorage,
            given.backup_storage_uuid,
            total_capacity=given.backup_storage_capacity.total_bytes,
            available_capacity=given.backup_storage_capacity.available_bytes,
            agent_boot=given.backup_storage_boot,
        )
        set_status(tx, self._events, given.backup_storage_uuid, BackupStorageStatus.CONNECTED, None)
        return NOTHING

    def undo(self, tx: Tx, given: FinishConnectInput, made: Nothing | None) -> None:
        """It is not connected after all."""
        set_status(tx, self._events, given.backup_storage_uuid, BackupStorageStatus.DISCONNECTED, "connecting failed")


def set_status(tx: Tx, events: Events, storage: str, status: BackupStorageStatus, reason: str | None) -> bool:
    """Change a backup storage's status and tell of it. Returns whether there is such a backup storage."""
    row = tx.get(BackupStorage, storage)
    if row is None:
        return False
    if row.status is status and row.status_reason == reason:
        return True
    tx.update(BackupStorage, storage, status=status, status_reason=reason, last_op_date=tx.now)
    if row.status is not status:
        event = BackupStorageStatusChanged(
            backup_storage=storage, name=row.name, before=row.status.value, status=status.value, reason=reason
        )
        events.emit(tx, event, resource=storage)
    return True
