"""Servers that keep images: connecting and watching them."""

from cairn.kernel.machine.machines import add_kind
from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.backup_storage.debts import ROUND_SECONDS, FileDebts
from cairn.services.backup_storage.kind import BackupStorageKind
from cairn.services.backup_storage.provided import BackupStorageAgents, BackupStorageDebts
from cairn.services.backup_storage.service import BackupStorageService


def build(node: NodeContext) -> tuple[object, ...]:
    kind = BackupStorageKind(node.events, node.extensions, node.store)
    agents = add_kind(node, kind)
    debts = FileDebts(node.store, node.ids, node.jobs, agents, node.ring, node.node)
    debts.listen(node.loops.every("debts of backup storage", lambda: ROUND_SECONDS, debts.collect, at_once=True).wake)
    node.bus.serve(BackupStorageService(node.jobs, node.ids, agents))
    node.bus.serve(debts)
    node.background.append(debts)
    node.provide(BackupStorageAgents, agents)
    node.provide(BackupStorageDebts, debts)
    return kind, agents, debts


MANIFEST = Manifest(package="cairn.services.backup_storage", build=build, requires=("zone",))
