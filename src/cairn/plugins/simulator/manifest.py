"""Hosts and backup storage that `cairn simulator` simulates."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.simulator import backup, driver


def build(node: NodeContext) -> None:
    node.extensions.add(driver.SimulatorHypervisor(), name=driver.TYPE)
    node.extensions.add(backup.SimulatorBackup(), name=backup.TYPE)


MANIFEST = Manifest(package="cairn.plugins.simulator", build=build, requires=("host", "backup_storage"))
