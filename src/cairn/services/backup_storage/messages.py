"""API messages about backup storage."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.api import (
    ApiChangeState,
    ApiCommand,
    ApiCreate,
    ApiDelete,
    ApiUpdate,
    Description,
    Http,
    Name,
    Reference,
    Refers,
    Uuid,
    action,
    delete,
    post,
)
from cairn.kernel.bus.message import Event
from cairn.kernel.limits import CONNECT, CallLimit
from cairn.kernel.machine.messages import ApiReconnect


class AddBackupStorage(ApiCreate, frozen=True, kw_only=True):
    """The part that all messages which add a backup storage have in common."""

    abstract: ClassVar[bool] = True
    entity: ClassVar[str | None] = "BackupStorage"
    limit: ClassVar[CallLimit | None] = CONNECT
    storage_type: ClassVar[str]

    name: Name
    description: Description | None = None

    @property
    def folder(self) -> str:
        """The folder on the server that images are kept in."""
        raise NotImplementedError


class UpdateBackupStorage(ApiUpdate, frozen=True, kw_only=True, tag="backup-storage.update"):
    """Change a backup storage's name or description."""

    http: ClassVar[Http] = action("/backup-storage/{uuid}/actions", "updateBackupStorage")
    entity: ClassVar[str | None] = "BackupStorage"


class ChangeBackupStorageState(ApiChangeState, frozen=True, kw_only=True, tag="backup-storage.change-state"):
    """Enable a backup storage, or disable it: no new images, and no new VMs from those that are there."""

    http: ClassVar[Http] = action("/backup-storage/{uuid}/actions", "changeBackupStorageState")
    entity: ClassVar[str | None] = "BackupStorage"


class ReconnectBackupStorage(ApiReconnect, frozen=True, kw_only=True, tag="backup-storage.reconnect"):
    """Connect to a backup storage again. Safe to repeat; an agent that answers and is as it should be is used as it is.

    Errors: ``backup-storage.machine-changed``, ``backup-storage.machine-taken``, ``backup-storage.agent-incompatible``,
    ``ssh.*``, ``deploy.*``.
    """

    http: ClassVar[Http] = action("/backup-storage/{uuid}/actions", "reconnectBackupStorage")
    entity: ClassVar[str | None] = "BackupStorage"
    limit: ClassVar[CallLimit | None] = CONNECT


class _ZoneCommand(ApiCommand[Reference], frozen=True, kw_only=True):
    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "backup_storage_uuid"
    entity: ClassVar[str | None] = "BackupStorage"
    takes_turn: ClassVar[bool] = False  # at once, also while it is being connected, which may take long

    zone_uuid: Annotated[Uuid, Refers("Zone")]
    backup_storage_uuid: Annotated[Uuid, Refers("BackupStorage")]


class AttachBackupStorageToZone(_ZoneCommand, frozen=True, kw_only=True, tag="backup-storage.attach"):
    """Let the hosts of a zone fetch images from a backup storage.

    Errors: ``backup-storage.attached-already``.
    """

    http: ClassVar[Http] = post("/zones/{zoneUuid}/backup-storage/{backupStorageUuid}")


class DetachBackupStorageFromZone(_ZoneCommand, frozen=True, kw_only=True, tag="backup-storage.detach"):
    """Take a backup storage from a zone. One that is not attached there is success."""

    http: ClassVar[Http] = delete("/zones/{zoneUuid}/backup-storage/{backupStorageUuid}")

    def frees(self) -> bool:
        """A detachment ends something."""
        return True


class DeleteBackupStorage(ApiDelete, frozen=True, kw_only=True, tag="backup-storage.delete"):
    """Take a backup storage out of the cloud; no images may be on it.

    With ``deleteMode=Enforcing`` the images on it are removed first (an image that is nowhere else is Deleted then), and
    a server that cannot be reached is forgotten as it is: its files are a debt (`BackupStorageDebt`), which is collected if
    the machine is added again.

    Errors: ``backup-storage.in-use``, ``backup-storage.not-cleaned``.
    """

    http: ClassVar[Http] = delete("/backup-storage/{uuid}")
    entity: ClassVar[str | None] = "BackupStorage"

    uuid: Uuid


class DeleteBackupStorageDebt(ApiDelete, frozen=True, kw_only=True, tag="backup-storage.delete-debt"):
    """Forget a file that is still to be removed from a backup storage: it was removed there by hand, or never will be."""

    route: ClassVar[str | None] = "uuid"
    http: ClassVar[Http] = delete("/backup-storage/debts/{uuid}")
    entity: ClassVar[str | None] = "BackupStorageDebt"

    uuid: Uuid


class BackupStorageStatusChanged(Event, frozen=True, kw_only=True, tag="backup-storage.status-changed"):
    """A backup storage was connected or lost."""

    backup_storage: str
    name: str
    before: str
    status: str
    reason: str | None = None
