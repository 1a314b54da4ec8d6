"""The simulator plugin, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.simulator import backup
from cairn.plugins.simulator.driver import TYPE, RecordSimulator, SimulatorHypervisor, SimulatorService
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.host.extensions import HostRemoval, Hypervisor


def build(node: NodeContext) -> None:
    """Make the plugin's objects."""
    driver = SimulatorHypervisor()
    SimulatorService(node.bus, node.lazy_flows(), node.tags)
    node.extensions.provide(Hypervisor, driver, name=TYPE)
    node.extensions.provide(HostRemoval, driver, name="simulator")
    backup.SimulatorBackupService(node.bus, node.lazy_flows(), node.tags)
    node.extensions.provide(BackupStorageDriver, backup.SimulatorBackup(), name=backup.TYPE)
    node.steps += [RecordSimulator(), backup.RecordSimulatorBackup()]


MANIFEST = Manifest(
    package="cairn.plugins.simulator",
    doc="Hosts and backup storage that `cairn simulator` plays.",
    build=build,
    requires=("host", "backup_storage"),
)
