"""Servers that keep images: connecting and watching them."""

from cairn.kernel.machine.machines import add_kind
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.backup_storage.kind import BackupStorageKind
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.backup_storage.service import BackupStorageService


def build(node: NodeContext) -> tuple[object, ...]:
    kind = BackupStorageKind(node.events, node.extensions, node.store)
    agents = add_kind(node, kind)
    node.bus.serve(BackupStorageService(node.jobs, node.ids, agents))
    node.provide(BackupStorageAgents, agents)
    return kind, agents


MANIFEST = Manifest(package="cairn.services.backup_storage", build=build, requires=("zone",))
