"""The backup server plugin, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.plugins.backup_server import config
from cairn.plugins.backup_server.driver import TYPE, BackupServerDriver
from cairn.plugins.backup_server.messages import (
    AddSftpBackupStorage,
    ReconnectSftpBackupStorage,
    UpdateSftpBackupStorage,
)
from cairn.plugins.backup_server.model import SftpBackupStorage
from cairn.plugins.backup_server.service import ADD, BackupServerService
from cairn.plugins.backup_server.steps import RecordBackupServer
from cairn.services.backup_storage.extensions import BackupStorageDriver


def build(parts: Parts) -> None:
    """Make the plugin's objects."""
    driver = BackupServerDriver(parts.store, parts.installer, parts.config)
    BackupServerService(parts.bus, parts.store, parts.lazy_flows(), parts.tags, parts.extensions)
    parts.extensions.provide(BackupStorageDriver, driver, name=TYPE)
    parts.steps.append(RecordBackupServer(parts.installer))


MANIFEST = Manifest(
    name="backup_server",
    doc="Linux machines that keep images in a folder and hand them out over TLS.",
    build=build,
    requires=("backup_storage",),
    records=(SftpBackupStorage,),
    api=(AddSftpBackupStorage, UpdateSftpBackupStorage, ReconnectSftpBackupStorage),
    settings=config.ALL,
    workflows=(ADD,),
    workflow_file=Path(__file__).parent / "workflows.toml",
    migrations=Path(__file__).parent / "migrations" / "versions",
)
