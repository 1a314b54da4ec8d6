"""Linux machines that keep images in a folder and hand them out over TLS."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.plugins.backup_server.driver import TYPE, BackupServerDriver
from cairn.plugins.backup_server.service import BackupServerService


def build(node: NodeContext) -> None:
    driver = BackupServerDriver(node.store, node.installer, node.config)
    node.extensions.add(driver, name=TYPE)
    node.bus.serve(BackupServerService(node.bus, node.store))


MANIFEST = Manifest(package="cairn.plugins.backup_server", build=build, requires=("backup_storage",))
