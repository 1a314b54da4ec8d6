"""Backup storage: where images are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.machine.model import Machine
from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Hidden,
    Index,
    Key,
    Record,
    References,
    TableMeta,
    Text,
    Unit,
    Uuids,
    Via,
    Visible,
)
from cairn.services.ids import BackupStorageId, ZoneId


class BackupStorage(Machine, frozen=True, kw_only=True):
    """A server that keeps images and hands them out to hosts."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="backup_storage",
        remembered=True,
        entity="BackupStorage",
        visible=Visible.PUBLIC,
        path="/backup-storage",
        columns=("name", "uuid", "status", "type", "url", "availableCapacity", "totalCapacity"),
        nested={
            "attachedZoneUuids": Uuids(link="backup_storage_zone_ref", own="backup_storage_uuid", other="zone_uuid")
        },
        via={"zone": Via(link="backup_storage_zone_ref", own="backup_storage_uuid", other="zone_uuid", target="Zone")},
    )

    uuid: Annotated[BackupStorageId, Key()]
    url: Annotated[str, AdminOnly(), Text(2048), Doc("the folder on the server that images are kept in")]
    type: Annotated[str, Doc("SftpBackupStorage or SimulatorBackupStorage")]
    state: EnabledState = EnabledState.ENABLED
    total_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0
    available_capacity: Annotated[int, AdminOnly(), Unit("bytes")] = 0
    agent_boot: Annotated[str, Hidden(), Doc("changes when the agent was restarted")] = ""


class BackupStorageZoneRef(Record, frozen=True, kw_only=True):
    """A backup storage whose images the hosts of a zone can fetch."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="backup_storage_zone_ref",
        unique_together=(("backup_storage_uuid", "zone_uuid"),),
        remembered=True,
    )

    uuid: Annotated[str, Key()]
    backup_storage_uuid: Annotated[BackupStorageId, References("backup_storage", on_delete="cascade")]
    zone_uuid: Annotated[ZoneId, References("zone", on_delete="cascade")]


class BackupStorageDebt(Record, frozen=True, kw_only=True):
    """A file that is still to be removed from a backup storage that could not be reached when it was to go.

    It is collected when the machine returns: as the same backup storage, or added again (a machine is known by what it is).
    """

    meta: ClassVar[TableMeta] = TableMeta(
        table="backup_storage_debt",
        entity="BackupStorageDebt",
        visible=Visible.ADMIN,
        path="/backup-storage/debts",
        columns=("uuid", "backupStorageName", "path", "reason", "createDate"),
        unique_together=(("backup_storage_uuid", "path"),),
    )

    uuid: Annotated[str, Key()]
    backup_storage_uuid: Annotated[BackupStorageId, Index(), Doc("it may have left the cloud since")]
    backup_storage_name: str
    machine_identity: Annotated[str | None, Index(), Doc("which machine it was; None: it never told")] = None
    path: Annotated[str, Text(2048), Doc("of the file; no other file ever has it")]
    reason: Annotated[str, Text(2048), Doc("why it could not be removed")]
    create_date: datetime
