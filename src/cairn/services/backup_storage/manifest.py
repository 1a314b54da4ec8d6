"""The backup storage service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.backup_storage import config
from cairn.services.backup_storage.directory import BackupStorageDirectory
from cairn.services.backup_storage.extensions import BackupStorageAgents
from cairn.services.backup_storage.monitor import BackupStorageMonitor
from cairn.services.backup_storage.service import BackupStorageService
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


def build(node: NodeContext) -> None:
    """Make the service's objects."""
    monitors: list[BackupStorageMonitor] = []
    directory = BackupStorageDirectory(
        node.store,
        node.agents,
        node.queues,
        node.config,
        node.extensions,
        lambda storage, reason: monitors[0].suspect(storage, reason),
    )
    monitor = BackupStorageMonitor(
        node=node.node,
        store=node.store,
        bus=node.bus,
        ring=node.ring,
        clock=node.clock,
        settings=node.config,
        events=node.events,
        directory=directory,
    )
    monitors.append(monitor)
    BackupStorageService(node.bus, node.jobs, node.lazy_flows(), node.ids)
    node.provide(BackupStorageAgents, directory)
    node.extensions.provide(BackupStorageAgents, directory, name="backup_storage")
    node.config.listen(config.PARALLELISM, lambda: node.queues.changed("backup-storage:"))
    node.steps += [
        RecordBackupStorage(node.tags),
        BeginConnect(node.events),
        DeployBackupStorage(directory),
        ConnectBackupStorage(directory),
        FinishConnect(node.events),
        CloseBackupStorage(node.extensions),
        RemoveContent(node.extensions),
        RemoveAgent(directory),
        EraseBackupStorage(node.tags, node.extensions, directory),
    ]
    node.background.append(monitor)


MANIFEST = Manifest(
    package="cairn.services.backup_storage",
    doc="Servers that keep images: connecting and watching them.",
    build=build,
    requires=("zone",),
)
