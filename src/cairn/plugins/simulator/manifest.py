"""The simulator plugin, put together."""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.plugins.simulator import backup
from cairn.plugins.simulator.driver import ADD, TYPE, RecordSimulator, SimulatorHypervisor, SimulatorService
from cairn.plugins.simulator.messages import AddSimulatorBackupStorage, AddSimulatorHost
from cairn.plugins.simulator.model import SimulatorBackupStorage, SimulatorHost
from cairn.services.backup_storage.extensions import BackupStorageDriver
from cairn.services.host.extensions import HostRemoval, Hypervisor


def build(parts: Parts) -> None:
    """Make the plugin's objects."""
    driver = SimulatorHypervisor()
    SimulatorService(parts.bus, parts.lazy_flows(), parts.tags)
    parts.extensions.provide(Hypervisor, driver, name=TYPE)
    parts.extensions.provide(HostRemoval, driver, name="simulator")
    backup.SimulatorBackupService(parts.bus, parts.lazy_flows(), parts.tags)
    parts.extensions.provide(BackupStorageDriver, backup.SimulatorBackup(), name=backup.TYPE)
    parts.steps += [RecordSimulator(), backup.RecordSimulatorBackup()]


MANIFEST = Manifest(
    name="simulator",
    doc="Hosts and backup storage that `cairn simulator` plays.",
    build=build,
    requires=("host", "backup_storage"),
    records=(SimulatorHost, SimulatorBackupStorage),
    api=(AddSimulatorHost, AddSimulatorBackupStorage),
    workflows=(ADD, backup.ADD_BACKUP),
    workflow_file=Path(__file__).parent / "workflows.toml",
    migrations=Path(__file__).parent / "migrations" / "versions",
)
