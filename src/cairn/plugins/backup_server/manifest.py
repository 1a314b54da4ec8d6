"""The backup server plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.backup_server.driver import TYPE, BackupServerDriver
from cairn.plugins.backup_server.service import BackupServerService
from cairn.services.backup_storage.extensions import BackupStorageDriver


def build(node: NodeContext) -> None:
    """Make the plugin's objects."""
    driver = BackupServerDriver(node.store, node.installer, node.config)
    node.extensions.provide(BackupStorageDriver, driver, name=TYPE)
    node.bus.serve(BackupServerService(node.bus, node.store))


MANIFEST = Manifest(
    package="cairn.plugins.backup_server",
    doc="Linux machines that keep images in a folder and hand them out over TLS.",
    build=build,
    requires=("backup_storage",),
)
