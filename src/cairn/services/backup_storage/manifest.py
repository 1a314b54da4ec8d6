"""The backup storage service, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.services.backup_storage import config
from cairn.services.backup_storage.directory import BackupStorageDirectory
from cairn.services.backup_storage.extensions import BackupStorageAgents
from cairn.services.backup_storage.messages import (
    AttachBackupStorageToZone,
    ChangeBackupStorageState,
    DeleteBackupStorage,
    DetachBackupStorageFromZone,
    ReconnectBackupStorage,
    UpdateBackupStorage,
)
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef
from cairn.services.backup_storage.monitor import BackupStorageMonitor
from cairn.services.backup_storage.service import DELETE, RECONNECT, BackupStorageService
from cairn.services.backup_storage.steps.connect import (
    BeginConnect,
    ConnectBackupStorage,
    DeployBackupStorage,
    FinishConnect,
    RecordBackupStorage,
)
from cairn.services.backup_storage.steps.delete import (
    CloseBackupStorage,
    EraseBackupStorage,
    RemoveAgent,
    RemoveContent,
)


def build(parts: Parts) -> None:
    """Make the service's objects."""
    monitors: list[BackupStorageMonitor] = []
    directory = BackupStorageDirectory(
        parts.store,
        parts.agents,
        parts.queues,
        parts.config,
        parts.extensions,
        lambda storage, reason: monitors[0].suspect(storage, reason),
    )
    monitor = BackupStorageMonitor(
        node=parts.node,
        store=parts.store,
        bus=parts.bus,
        ring=parts.ring,
        clock=parts.clock,
        settings=parts.config,
        events=parts.events,
        directory=directory,
    )
    monitors.append(monitor)
    BackupStorageService(parts.bus, parts.jobs, parts.lazy_flows(), parts.ids)
    parts.extensions.provide(BackupStorageAgents, directory, name="backup_storage")
    parts.config.listen(config.PARALLELISM, lambda: parts.queues.changed("backup-storage:"))
    parts.steps += [
        RecordBackupStorage(parts.tags),
        BeginConnect(parts.events),
        DeployBackupStorage(directory),
        ConnectBackupStorage(directory),
        FinishConnect(parts.events),
        CloseBackupStorage(parts.extensions),
        RemoveContent(parts.extensions),
        RemoveAgent(directory),
        EraseBackupStorage(parts.tags, parts.extensions, directory),
    ]
    parts.background.append(monitor)


MANIFEST = Manifest(
    name="backup_storage",
    doc="Servers that keep images: connecting and watching them.",
    build=build,
    requires=("zone",),
    records=(BackupStorage, BackupStorageZoneRef),
    api=(
        UpdateBackupStorage,
        ChangeBackupStorageState,
        AttachBackupStorageToZone,
        DetachBackupStorageFromZone,
        ReconnectBackupStorage,
        DeleteBackupStorage,
    ),
    settings=config.ALL,
    workflows=(RECONNECT, DELETE),
    workflow_file=Path(__file__).parent / "workflows.toml",
)
