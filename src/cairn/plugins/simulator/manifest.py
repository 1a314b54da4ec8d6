"""The simulator plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.simulator import backup, driver
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.host.extensions import Hypervisor


def build(node: NodeContext) -> None:
    """Make the plugin's objects."""
    node.extensions.provide(Hypervisor, driver.SimulatorHypervisor(), name=driver.TYPE)
    node.extensions.provide(BackupStorageDriver, backup.SimulatorBackup(), name=backup.TYPE)


MANIFEST = Manifest(
    package="cairn.plugins.simulator",
    doc="Hosts and backup storage that `cairn simulator` plays.",
    build=build,
    requires=("host", "backup_storage"),
)
